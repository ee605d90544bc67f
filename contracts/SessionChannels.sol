// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Hashes} from "@openzeppelin/contracts/utils/cryptography/Hashes.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {IDepositCollector} from "./interfaces/IDepositCollector.sol";
import {IERC3009} from "./interfaces/IERC3009.sol";
import {ISessionChannels} from "./interfaces/ISessionChannels.sol";
import {ChannelTypes} from "./libraries/ChannelTypes.sol";
import {ClaimFrame, ClaimFrameLib, MIN_ROW_BYTES} from "./libraries/ClaimFrame.sol";
import {StateLib, WithdrawalState} from "./libraries/StateLib.sol";
import {TransferLib} from "./libraries/TransferLib.sol";

/// @title SessionChannels
/// @notice Prepaid session channels. A payer deposits once, signs cumulative vouchers off chain, and receivers claim many
/// vouchers in one transaction. Ownerless, without proxy or pause.
/// @dev Solvency, per honest token:
///
///     balanceOf(this) = sum over channels (balance - totalClaimed) + sum over receivers (totalClaimed - totalSettled)
///
/// A channel's totalClaimed only grows and never passes its balance; its balance falls only by a refund or a finalized
/// withdrawal, and never below totalClaimed.
contract SessionChannels is ISessionChannels, EIP712, Multicall, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using StateLib for ChannelState;
    using StateLib for ReceiverState;
    using StateLib for WithdrawalState;

    // ------------------------------------------------------------------ constants

    /// @inheritdoc ISessionChannels
    uint40 public constant MIN_WITHDRAW_DELAY = 15 minutes;
    /// @inheritdoc ISessionChannels
    uint40 public constant MAX_WITHDRAW_DELAY = 30 days;

    bytes32 public constant CHANNEL_CONFIG_TYPEHASH = ChannelTypes.CHANNEL_CONFIG;
    bytes32 public constant VOUCHER_TYPEHASH = ChannelTypes.VOUCHER;
    bytes32 public constant REFUND_TYPEHASH = ChannelTypes.REFUND;
    bytes32 public constant CLAIM_ENTRY_TYPEHASH = ChannelTypes.CLAIM_ENTRY;
    bytes32 public constant CLAIM_BATCH_TYPEHASH = ChannelTypes.CLAIM_BATCH;
    bytes32 public constant PACKED_CLAIM_TYPEHASH = ChannelTypes.PACKED_CLAIM;
    bytes32 public constant WITHDRAW_REQUEST_TYPEHASH = ChannelTypes.WITHDRAW_REQUEST;

    // ------------------------------------------------------------------ storage

    /// @inheritdoc ISessionChannels
    mapping(bytes32 channelId => ChannelState) public channels;
    /// @inheritdoc ISessionChannels
    mapping(address receiver => mapping(address token => ReceiverState)) public receivers;

    mapping(bytes32 channelId => WithdrawalState) private _withdrawals;
    /// @inheritdoc ISessionChannels
    mapping(bytes32 digest => bool) public isWithdrawRequestUsed;

    constructor() EIP712("x402 Batch Settlement", "1") {}

    // ------------------------------------------------------------------ deposit

    /// @inheritdoc ISessionChannels
    function deposit(ChannelConfig calldata config, uint128 amount, address collector, bytes calldata collectorData)
        external
        nonReentrant
    {
        _validateDeposit(config, amount, collector);
        bytes32 channelId = getChannelId(config);

        ChannelState storage state = channels[channelId];
        (uint256 balance, uint256 totalClaimed) = state.load();
        balance += amount;
        require(balance <= type(uint128).max, DepositOverflow());
        state.store(balance, totalClaimed);

        _collect(config, channelId, amount, collector, collectorData);

        if (balance == amount && totalClaimed == 0) emit ChannelCreated(channelId, config);
        emit Deposited(channelId, msg.sender, amount, uint128(balance));
    }

    function _validateDeposit(ChannelConfig calldata config, uint128 amount, address collector) private view {
        require(
            config.payer != address(0) && config.receiver != address(0) && config.receiverAuthorizer != address(0)
                && config.token != address(0),
            InvalidChannel()
        );
        require(
            config.withdrawDelay >= MIN_WITHDRAW_DELAY && config.withdrawDelay <= MAX_WITHDRAW_DELAY,
            WithdrawDelayOutOfRange()
        );
        require(amount != 0, ZeroDeposit());
        require(collector == address(this) || collector.code.length != 0, InvalidCollector());
    }

    /// @dev Whatever the collector and the token do, the deposit counts only if exactly `amount` arrived.
    function _collect(
        ChannelConfig calldata config,
        bytes32 channelId,
        uint128 amount,
        address collector,
        bytes calldata collectorData
    ) private {
        IERC20 token = IERC20(config.token);
        uint256 balanceBefore = token.balanceOf(address(this));
        if (collector == address(this)) {
            _collectByAuthorization(config, channelId, amount, collectorData);
        } else {
            IDepositCollector(collector).collect(config.payer, config.token, amount, channelId, collectorData);
        }
        uint256 balanceAfter = token.balanceOf(address(this));
        require(
            balanceAfter >= balanceBefore && balanceAfter - balanceBefore == amount, DepositCollectionFailed()
        );
    }

    /// @dev The nonce binds the payer's signature to this channel, so nobody can spend it on another.
    function _collectByAuthorization(
        ChannelConfig calldata config,
        bytes32 channelId,
        uint128 amount,
        bytes calldata collectorData
    ) private {
        (uint256 validAfter, uint256 validBefore, bytes32 salt) =
            abi.decode(collectorData, (uint256, uint256, bytes32));
        bytes32 nonce = Hashes.efficientKeccak256(channelId, salt);
        IERC3009(config.token).receiveWithAuthorization(
            config.payer, address(this), amount, validAfter, validBefore, nonce, _bytesAt(collectorData, 0x60)
        );
    }

    /// @dev The `bytes` whose offset stands at `head` of ABI-encoded `data`, without copying it to memory.
    function _bytesAt(bytes calldata data, uint256 head) private pure returns (bytes calldata) {
        uint256 offset = uint256(bytes32(data[head:head + 0x20]));
        bytes calldata tail = data[offset:];
        uint256 length = uint256(bytes32(tail[:0x20]));
        return tail[0x20:][:length];
    }

    // ------------------------------------------------------------------ claim

    /// @inheritdoc ISessionChannels
    function claim(VoucherClaim[] calldata voucherClaims) external nonReentrant {
        _claimAsSender(voucherClaims);
    }

    /// @inheritdoc ISessionChannels
    function claimWithSignature(VoucherClaim[] calldata voucherClaims, bytes calldata authorizerSignature)
        external
        nonReentrant
    {
        _claimWithSignature(voucherClaims, authorizerSignature);
    }

    /// @inheritdoc ISessionChannels
    function claimAndSettle(VoucherClaim[] calldata voucherClaims, bytes calldata authorizerSignature)
        external
        nonReentrant
    {
        if (authorizerSignature.length == 0) _claimAsSender(voucherClaims);
        else _claimWithSignature(voucherClaims, authorizerSignature);
        _settleRuns(voucherClaims);
    }

    function _claimAsSender(VoucherClaim[] calldata voucherClaims) private {
        require(voucherClaims.length != 0, EmptyBatch());
        ClaimFrame memory frame = ClaimFrameLib.create(_domainSeparatorV4());
        for (uint256 i; i < voucherClaims.length; ++i) {
            VoucherClaim calldata row = voucherClaims[i];
            ChannelConfig calldata config = row.voucher.channel;
            require(
                msg.sender == config.receiver || msg.sender == config.receiverAuthorizer, NotAuthorizedToClaim()
            );
            frame.loadConfig(config);
            frame.hashChannel();
            _claimRow(frame, row);
        }
    }

    function _claimWithSignature(VoucherClaim[] calldata voucherClaims, bytes calldata authorizerSignature) private {
        require(voucherClaims.length != 0, EmptyBatch());
        ClaimFrame memory frame = ClaimFrameLib.create(_domainSeparatorV4());
        (bytes32 digest, bytes32[] memory channelIds) = _hashClaimBatch(frame, voucherClaims);
        address authorizer = voucherClaims[0].voucher.channel.receiverAuthorizer;
        require(
            SignatureChecker.isValidSignatureNowCalldata(authorizer, digest, authorizerSignature), InvalidSignature()
        );

        for (uint256 i; i < voucherClaims.length; ++i) {
            VoucherClaim calldata row = voucherClaims[i];
            require(row.voucher.channel.receiverAuthorizer == authorizer, NotReceiverAuthorizer());
            frame.channelId = channelIds[i];
            _claimRow(frame, row);
        }
    }

    /// @dev `frame.channelId` must be the row's.
    function _claimRow(ClaimFrame memory frame, VoucherClaim calldata row) private {
        bytes32 channelId = frame.channelId;
        ChannelState storage state = channels[channelId];
        (uint256 balance, uint256 totalClaimed) = state.load();
        uint128 total = row.totalClaimed;
        uint128 ceiling = row.voucher.maxClaimableAmount;
        if (total <= totalClaimed) return;
        require(total <= ceiling, ClaimExceedsCeiling());
        require(total <= balance, ClaimExceedsBalance());

        ChannelConfig calldata config = row.voucher.channel;
        frame.ceiling = ceiling;
        _requireVoucherSignature(frame, config, row.signature);

        uint128 claimAmount = total - uint128(totalClaimed);
        state.store(balance, total);
        _credit(config.receiver, config.token, claimAmount);
        emit Claimed(channelId, msg.sender, claimAmount, total);
    }

    function _credit(address receiver, address token, uint128 amount) private {
        ReceiverState storage state = receivers[receiver][token];
        (uint128 totalClaimed, uint128 totalSettled) = state.load();
        state.store(totalClaimed + amount, totalSettled);
    }

    /// @dev OpenZeppelin's recovery runs only to name what is malformed in a signature that ours refused.
    function _requireVoucherSignature(ClaimFrame memory frame, ChannelConfig calldata config, bytes calldata signature)
        private
        view
    {
        address payerAuthorizer = config.payerAuthorizer;
        if (payerAuthorizer == address(0)) {
            bytes32 digest = frame.hashVoucher();
            require(
                SignatureChecker.isValidSignatureNowCalldata(config.payer, digest, signature), InvalidSignature()
            );
            return;
        }
        frame.payerAuthorizer = payerAuthorizer;
        if (frame.loadSignature(signature) && frame.isSigned()) return;
        ECDSA.recoverCalldata(frame.hashVoucher(), signature);
        revert InvalidSignature();
    }

    // ------------------------------------------------------------------ claim, packed

    /// @inheritdoc ISessionChannels
    function claimPacked(PackedGroup[] calldata groups) external nonReentrant {
        require(groups.length != 0, EmptyBatch());
        ClaimFrame memory frame = ClaimFrameLib.create(_domainSeparatorV4());
        for (uint256 i; i < groups.length; ++i) {
            _claimGroup(frame, groups[i], i);
        }
    }

    function _claimGroup(ClaimFrame memory frame, PackedGroup calldata group, uint256 groupIndex) private {
        _requireGroupAuthorization(group);
        frame.loadGroup(group);

        ReceiverState storage receiverState = receivers[group.receiver][group.token];
        (uint128 claimedBefore, uint128 settled) = receiverState.load();
        uint256 headroom = type(uint128).max - claimedBefore;
        frame.headroom = headroom;
        bytes memory results = frame.openResults(group.rows.length / MIN_ROW_BYTES);
        _claimRows(frame, group.rows, groupIndex);
        frame.closeResults(results);

        uint128 claimAmount = uint128(headroom - frame.headroom);
        if (claimAmount != 0) receiverState.store(claimedBefore + claimAmount, settled);
        emit PackedClaimed(
            group.receiver,
            group.token,
            msg.sender,
            group.receiverAuthorizer,
            group.withdrawDelay,
            group.receiptsRoot,
            claimAmount,
            results
        );
    }

    function _claimRows(ClaimFrame memory frame, bytes calldata rows, uint256 groupIndex) private {
        uint256 start;
        assembly ("memory-safe") {
            start := rows.offset
        }
        uint256 end = start + rows.length;
        uint256 row;
        uint256 cursor = start;
        while (cursor < end) {
            row = cursor;
            cursor = frame.loadRow(row);
            _claimPackedRow(frame);
        }
        // A malformed row leads past the end; whatever it was taken for is reverted with the rest.
        if (cursor != end) revert MalformedPackedRow(groupIndex, row - start);
    }

    function _requireGroupAuthorization(PackedGroup calldata group) private view {
        require(group.rows.length != 0, EmptyBatch());
        if (msg.sender == group.receiver || msg.sender == group.receiverAuthorizer) return;
        require(group.authorization.length != 0, NotAuthorizedToClaim());
        require(
            SignatureChecker.isValidSignatureNowCalldata(
                group.receiverAuthorizer, getPackedClaimDigest(group), group.authorization
            ),
            InvalidSignature()
        );
    }

    /// @dev Claims the loaded row or says why not. Amounts are uint256 here: rows carry at most 16 bytes an amount.
    function _claimPackedRow(ClaimFrame memory frame) private {
        ChannelState storage state = channels[frame.hashChannel()];
        (uint256 balance, uint256 totalClaimed) = state.load();
        RowStatus status = _checkPackedRow(frame, balance, totalClaimed);
        if (status != RowStatus.Claimed) return frame.writeResult(status, 0, totalClaimed);

        uint256 total = frame.totalClaimed;
        // Checked above: totalClaimed < total <= balance, and total - totalClaimed <= headroom.
        unchecked {
            uint256 claimAmount = total - totalClaimed;
            frame.headroom -= claimAmount;
            state.store(balance, total);
            frame.writeResult(RowStatus.Claimed, claimAmount, total);
        }
    }

    /// @dev The order of `_claimRow`, and reads nothing that the sender's gas could sway.
    function _checkPackedRow(ClaimFrame memory frame, uint256 balance, uint256 totalClaimed)
        private
        view
        returns (RowStatus)
    {
        uint256 total = frame.totalClaimed;
        if (total <= totalClaimed) return RowStatus.NothingNew;
        if (total > frame.ceiling) return RowStatus.ExceedsCeiling;
        if (total > balance) return RowStatus.ExceedsBalance;
        if (frame.payerAuthorizer == address(0)) return RowStatus.ContractSignatureUnsupported;
        if (!frame.isSigned()) return RowStatus.InvalidSignature;
        unchecked {
            if (total - totalClaimed > frame.headroom) return RowStatus.ReceiverTotalOverflow;
        }
        return RowStatus.Claimed;
    }

    // ------------------------------------------------------------------ settle

    /// @inheritdoc ISessionChannels
    function settle(address receiver, address token) external nonReentrant {
        uint128 amount = _markSettled(receiver, token);
        if (amount == 0) return;
        IERC20(token).safeTransfer(receiver, amount);
        emit Settled(receiver, token, msg.sender, amount);
    }

    /// @dev Settles at the end of each run of rows with equal receiver and token.
    function _settleRuns(VoucherClaim[] calldata voucherClaims) private {
        address receiver = voucherClaims[0].voucher.channel.receiver;
        address token = voucherClaims[0].voucher.channel.token;
        for (uint256 i = 1; i < voucherClaims.length; ++i) {
            ChannelConfig calldata config = voucherClaims[i].voucher.channel;
            if (config.receiver == receiver && config.token == token) continue;
            _trySettle(receiver, token);
            (receiver, token) = (config.receiver, config.token);
        }
        _trySettle(receiver, token);
    }

    /// @dev As `settle`, but a refusal by the token leaves the amount unsettled instead of reverting.
    function _trySettle(address receiver, address token) private {
        uint128 amount = _markSettled(receiver, token);
        if (amount == 0) return;
        if (TransferLib.tryTransfer(token, receiver, amount)) {
            emit Settled(receiver, token, msg.sender, amount);
        } else {
            receivers[receiver][token].totalSettled -= amount;
            emit SettleFailed(receiver, token, msg.sender, amount);
        }
    }

    /// @return amount What was claimed and not settled until now; the caller must transfer it.
    function _markSettled(address receiver, address token) private returns (uint128 amount) {
        ReceiverState storage state = receivers[receiver][token];
        (uint128 totalClaimed, uint128 totalSettled) = state.load();
        amount = totalClaimed - totalSettled;
        if (amount != 0) state.store(totalClaimed, totalClaimed);
    }

    // ------------------------------------------------------------------ withdraw

    /// @inheritdoc ISessionChannels
    function initiateWithdraw(ChannelConfig calldata config, uint128 amount) external nonReentrant {
        require(msg.sender == config.payer || msg.sender == config.payerAuthorizer, InvalidChannel());
        require(amount != 0, NothingToWithdraw());
        bytes32 channelId = getChannelId(config);
        (uint256 available, uint88 nonce) = _requireNoneAnnounced(channelId);
        require(amount <= available, WithdrawAmountExceedsAvailable());
        _announce(config, channelId, amount, nonce);
    }

    /// @inheritdoc ISessionChannels
    function initiateWithdrawWithSignature(
        ChannelConfig calldata config, uint128 amount, uint256 deadline, bytes calldata payerSignature
    ) external nonReentrant {
        require(block.timestamp <= deadline, WithdrawRequestExpired(deadline, block.timestamp));
        bytes32 channelId = getChannelId(config);
        bytes32 digest = getWithdrawRequestDigest(channelId, amount, deadline);
        require(!isWithdrawRequestUsed[digest], WithdrawRequestUsed(digest));
        isWithdrawRequestUsed[digest] = true;
        require(SignatureChecker.isValidSignatureNowCalldata(config.payer, digest, payerSignature), InvalidSignature());
        (uint256 available, uint88 nonce) = _requireNoneAnnounced(channelId);
        if (amount > available) amount = uint128(available);
        require(amount != 0, NothingToWithdraw());
        _announce(config, channelId, amount, nonce);
    }

    /// @dev What the channel could give back now, and its refund nonce, which the announcement keeps.
    function _requireNoneAnnounced(bytes32 channelId) private view returns (uint256 available, uint88 nonce) {
        uint40 since;
        (, since, nonce) = _withdrawals[channelId].load();
        require(since == 0, WithdrawalAlreadyPending());
        (uint256 balance, uint256 claimed) = channels[channelId].load();
        available = balance - claimed;
    }

    function _announce(ChannelConfig calldata config, bytes32 channelId, uint128 amount, uint88 nonce) private {
        _withdrawals[channelId].store(amount, uint40(block.timestamp), nonce);
        emit WithdrawInitiated(channelId, amount, uint40(block.timestamp) + config.withdrawDelay);
    }

    /// @inheritdoc ISessionChannels
    function finalizeWithdraw(ChannelConfig calldata config) external nonReentrant {
        require(
            msg.sender == config.payer || msg.sender == config.payerAuthorizer, NotAuthorizedToFinalizeWithdraw()
        );
        bytes32 channelId = getChannelId(config);
        WithdrawalState storage withdrawal = _withdrawals[channelId];
        (uint128 amount, uint40 initiatedAt, uint88 nonce) = withdrawal.load();
        require(initiatedAt != 0, WithdrawalNotPending());
        require(block.timestamp >= initiatedAt + config.withdrawDelay, WithdrawDelayNotElapsed());

        withdrawal.store(0, 0, nonce);
        (uint128 paid, bool closed) = _debit(channelId, amount);
        if (paid != 0) IERC20(config.token).safeTransfer(config.payer, paid);
        emit WithdrawFinalized(channelId, msg.sender, paid);
        if (closed) emit ChannelClosed(channelId, config);
    }

    /// @inheritdoc ISessionChannels
    function cancelWithdraw(ChannelConfig calldata config) external nonReentrant {
        require(msg.sender == config.payer, NotPayer(msg.sender, config.payer));
        bytes32 channelId = getChannelId(config);
        WithdrawalState storage withdrawal = _withdrawals[channelId];
        (uint128 amount, uint40 initiatedAt, uint88 nonce) = withdrawal.load();
        require(initiatedAt != 0, WithdrawalNotPending());

        withdrawal.store(0, 0, nonce);
        emit WithdrawCancelled(channelId, amount);
    }

    // ------------------------------------------------------------------ refund

    /// @inheritdoc ISessionChannels
    function refund(ChannelConfig calldata config, uint128 amount) external nonReentrant {
        require(msg.sender == config.receiver || msg.sender == config.receiverAuthorizer, NotAuthorizedToRefund());
        _refund(config, getChannelId(config), amount);
    }

    /// @inheritdoc ISessionChannels
    function refundWithSignature(
        ChannelConfig calldata config,
        uint128 amount,
        uint256 nonce,
        bytes calldata receiverAuthorizerSignature
    ) external nonReentrant {
        bytes32 channelId = getChannelId(config);
        require(nonce == refundNonce(channelId), InvalidRefundNonce());
        require(
            SignatureChecker.isValidSignatureNowCalldata(
                config.receiverAuthorizer, getRefundDigest(channelId, nonce, amount), receiverAuthorizerSignature
            ),
            InvalidSignature()
        );
        _refund(config, channelId, amount);
    }

    function _refund(ChannelConfig calldata config, bytes32 channelId, uint128 amount) private {
        require(amount != 0, ZeroRefund());
        (uint128 paid, bool closed) = _debit(channelId, amount);
        _advanceRefundNonce(channelId, paid);
        if (paid == 0) return;
        IERC20(config.token).safeTransfer(config.payer, paid);
        emit Refunded(channelId, msg.sender, paid);
        if (closed) emit ChannelClosed(channelId, config);
    }

    /// @dev A pending withdrawal shrinks by what was refunded, and ends when nothing of it is left.
    function _advanceRefundNonce(bytes32 channelId, uint128 refunded) private {
        WithdrawalState storage withdrawal = _withdrawals[channelId];
        (uint128 pending, uint40 initiatedAt, uint88 nonce) = withdrawal.load();
        if (pending > refunded) withdrawal.store(pending - refunded, initiatedAt, nonce + 1);
        else withdrawal.store(0, 0, nonce + 1);
    }

    /// @dev Takes up to `amount` of what is unclaimed out of the channel.
    /// @return paid What was taken; the caller must transfer it to the payer.
    /// @return closed Whether the channel is now as if it had never been.
    function _debit(bytes32 channelId, uint128 amount) private returns (uint128 paid, bool closed) {
        ChannelState storage state = channels[channelId];
        (uint256 balance, uint256 totalClaimed) = state.load();
        uint256 available = balance - totalClaimed;
        paid = amount < available ? amount : uint128(available);
        balance -= paid;
        if (paid != 0) state.store(balance, totalClaimed);
        closed = balance == 0 && totalClaimed == 0;
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc ISessionChannels
    function pendingWithdrawals(bytes32 channelId) external view returns (uint128 amount, uint40 initiatedAt) {
        (amount, initiatedAt,) = _withdrawals[channelId].load();
    }

    /// @inheritdoc ISessionChannels
    function refundNonce(bytes32 channelId) public view returns (uint256) {
        (,, uint88 nonce) = _withdrawals[channelId].load();
        return nonce;
    }

    /// @inheritdoc ISessionChannels
    function getChannelId(ChannelConfig calldata config) public view returns (bytes32) {
        return _hashTypedDataV4(ChannelTypes.hashConfig(config));
    }

    /// @inheritdoc ISessionChannels
    function getVoucherDigest(bytes32 channelId, uint128 maxClaimableAmount) external view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(VOUCHER_TYPEHASH, channelId, maxClaimableAmount)));
    }

    /// @inheritdoc ISessionChannels
    function getRefundDigest(bytes32 channelId, uint256 nonce, uint128 amount) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(REFUND_TYPEHASH, channelId, nonce, amount)));
    }

    /// @inheritdoc ISessionChannels
    function getWithdrawRequestDigest(bytes32 channelId, uint128 amount, uint256 deadline) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(WITHDRAW_REQUEST_TYPEHASH, channelId, amount, deadline)));
    }

    /// @inheritdoc ISessionChannels
    function getClaimBatchDigest(VoucherClaim[] calldata voucherClaims) external view returns (bytes32) {
        (bytes32 digest,) = _hashClaimBatch(ClaimFrameLib.create(_domainSeparatorV4()), voucherClaims);
        return digest;
    }

    /// @inheritdoc ISessionChannels
    function getPackedClaimDigest(PackedGroup calldata group) public view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(
                abi.encode(
                    PACKED_CLAIM_TYPEHASH,
                    group.receiver,
                    group.receiverAuthorizer,
                    group.token,
                    group.withdrawDelay,
                    group.receiptsRoot,
                    keccak256(group.rows)
                )
            )
        );
    }

    /// @dev Also returns the rows' channel ids, so that a claim does not hash them twice.
    function _hashClaimBatch(ClaimFrame memory frame, VoucherClaim[] calldata voucherClaims)
        private
        view
        returns (bytes32 digest, bytes32[] memory channelIds)
    {
        bytes32[] memory entries = new bytes32[](voucherClaims.length);
        channelIds = new bytes32[](voucherClaims.length);
        for (uint256 i; i < voucherClaims.length; ++i) {
            VoucherClaim calldata row = voucherClaims[i];
            frame.loadConfig(row.voucher.channel);
            channelIds[i] = frame.hashChannel();
            entries[i] = _hashClaimEntry(channelIds[i], row.voucher.maxClaimableAmount, row.totalClaimed);
        }
        digest = _hashTypedDataV4(
            keccak256(abi.encode(CLAIM_BATCH_TYPEHASH, keccak256(abi.encodePacked(entries))))
        );
    }

    function _hashClaimEntry(bytes32 channelId, uint128 ceiling, uint128 totalClaimed) private pure returns (bytes32) {
        return keccak256(abi.encode(CLAIM_ENTRY_TYPEHASH, channelId, ceiling, totalClaimed));
    }
}
