// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {IDepositCollector} from "./interfaces/IDepositCollector.sol";
import {IERC3009} from "./interfaces/IERC3009.sol";
import {ISessionChannels} from "./interfaces/ISessionChannels.sol";
import {ChannelTypes} from "./libraries/ChannelTypes.sol";
import {ClaimFrame, ClaimFrameLib, MIN_ROW_BYTES} from "./libraries/ClaimFrame.sol";
import {StateLib} from "./libraries/StateLib.sol";
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

    /// @dev A pending withdrawal and the refund nonce share a slot: every refund touches both.
    struct WithdrawalState {
        uint128 amount;
        uint40 initiatedAt;
        uint88 refundNonce;
    }

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

    // ------------------------------------------------------------------ storage

    /// @inheritdoc ISessionChannels
    mapping(bytes32 channelId => ChannelState) public channels;
    /// @inheritdoc ISessionChannels
    mapping(address receiver => mapping(address token => ReceiverState)) public receivers;

    mapping(bytes32 channelId => WithdrawalState) private _withdrawals;

    constructor() EIP712("x402 Batch Settlement", "1") {}

    // ------------------------------------------------------------------ deposit

    /// @inheritdoc ISessionChannels
    function deposit(ChannelConfig calldata config, uint128 amount, address collector, bytes calldata collectorData)
        external
        nonReentrant
    {
        _validateDeposit(config, amount, collector);
        bytes32 channelId = getChannelId(config);

        ChannelState memory state = channels[channelId];
        require(amount <= type(uint128).max - state.balance, DepositOverflow());
        state.balance += amount;
        channels[channelId] = state;

        _collect(config, channelId, amount, collector, collectorData);

        if (state.balance == amount && state.totalClaimed == 0) emit ChannelCreated(channelId, config);
        emit Deposited(channelId, msg.sender, amount, state.balance);
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
        require(collector.code.length != 0, InvalidCollector());
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
        (uint256 validAfter, uint256 validBefore, bytes32 salt, bytes memory signature) =
            abi.decode(collectorData, (uint256, uint256, bytes32, bytes));
        IERC3009(config.token).receiveWithAuthorization(
            config.payer,
            address(this),
            amount,
            validAfter,
            validBefore,
            keccak256(abi.encode(channelId, salt)),
            signature
        );
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
        (bytes32 digest, bytes32[] memory channelIds) = _hashClaimBatch(voucherClaims);
        address authorizer = voucherClaims[0].voucher.channel.receiverAuthorizer;
        require(
            SignatureChecker.isValidSignatureNowCalldata(authorizer, digest, authorizerSignature), InvalidSignature()
        );

        ClaimFrame memory frame = ClaimFrameLib.create(_domainSeparatorV4());
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
        ChannelState memory state = channels[channelId];
        uint128 total = row.totalClaimed;
        if (total <= state.totalClaimed) return;
        require(total <= row.voucher.maxClaimableAmount, ClaimExceedsCeiling());
        require(total <= state.balance, ClaimExceedsBalance());

        ChannelConfig calldata config = row.voucher.channel;
        frame.ceiling = row.voucher.maxClaimableAmount;
        _requireVoucherSignature(config, frame.hashVoucher(), row.signature);

        uint128 claimAmount = total - state.totalClaimed;
        channels[channelId] = ChannelState({balance: state.balance, totalClaimed: total});
        receivers[config.receiver][config.token].totalClaimed += claimAmount;
        emit Claimed(channelId, msg.sender, claimAmount, total);
    }

    function _requireVoucherSignature(ChannelConfig calldata config, bytes32 digest, bytes calldata signature)
        private
        view
    {
        if (config.payerAuthorizer != address(0)) {
            require(ECDSA.recoverCalldata(digest, signature) == config.payerAuthorizer, InvalidSignature());
        } else {
            require(
                SignatureChecker.isValidSignatureNowCalldata(config.payer, digest, signature), InvalidSignature()
            );
        }
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
        uint256 at = start;
        while (at < end) {
            row = at;
            at = frame.loadRow(row);
            _claimPackedRow(frame);
        }
        // A malformed row leads past the end; whatever it was taken for is reverted with the rest.
        if (at != end) revert MalformedPackedRow(groupIndex, row - start);
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
        if (frame.recoverSigner() != frame.payerAuthorizer) return RowStatus.InvalidSignature;
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
        ReceiverState memory totals = receivers[receiver][token];
        amount = totals.totalClaimed - totals.totalSettled;
        if (amount == 0) return 0;
        totals.totalSettled = totals.totalClaimed;
        receivers[receiver][token] = totals;
    }

    // ------------------------------------------------------------------ withdraw

    /// @inheritdoc ISessionChannels
    function initiateWithdraw(ChannelConfig calldata config, uint128 amount) external nonReentrant {
        require(msg.sender == config.payer || msg.sender == config.payerAuthorizer, InvalidChannel());
        bytes32 channelId = getChannelId(config);
        require(amount != 0, NothingToWithdraw());

        WithdrawalState memory withdrawal = _withdrawals[channelId];
        require(withdrawal.initiatedAt == 0, WithdrawalAlreadyPending());
        ChannelState memory state = channels[channelId];
        require(amount <= state.balance - state.totalClaimed, WithdrawAmountExceedsAvailable());

        withdrawal.amount = amount;
        withdrawal.initiatedAt = uint40(block.timestamp);
        _withdrawals[channelId] = withdrawal;
        emit WithdrawInitiated(channelId, amount, withdrawal.initiatedAt + config.withdrawDelay);
    }

    /// @inheritdoc ISessionChannels
    function finalizeWithdraw(ChannelConfig calldata config) external nonReentrant {
        require(
            msg.sender == config.payer || msg.sender == config.payerAuthorizer, NotAuthorizedToFinalizeWithdraw()
        );
        bytes32 channelId = getChannelId(config);
        WithdrawalState memory withdrawal = _withdrawals[channelId];
        require(withdrawal.initiatedAt != 0, WithdrawalNotPending());
        require(block.timestamp >= withdrawal.initiatedAt + config.withdrawDelay, WithdrawDelayNotElapsed());

        _clearWithdrawal(channelId, withdrawal);
        (uint128 paid, bool closed) = _debit(channelId, withdrawal.amount);
        if (paid != 0) IERC20(config.token).safeTransfer(config.payer, paid);
        emit WithdrawFinalized(channelId, msg.sender, paid);
        if (closed) emit ChannelClosed(channelId, config);
    }

    /// @inheritdoc ISessionChannels
    function cancelWithdraw(ChannelConfig calldata config) external nonReentrant {
        require(msg.sender == config.payer, NotPayer(msg.sender, config.payer));
        bytes32 channelId = getChannelId(config);
        WithdrawalState memory withdrawal = _withdrawals[channelId];
        require(withdrawal.initiatedAt != 0, WithdrawalNotPending());

        _clearWithdrawal(channelId, withdrawal);
        emit WithdrawCancelled(channelId, withdrawal.amount);
    }

    function _clearWithdrawal(bytes32 channelId, WithdrawalState memory withdrawal) private {
        _withdrawals[channelId] =
            WithdrawalState({amount: 0, initiatedAt: 0, refundNonce: withdrawal.refundNonce});
    }

    // ------------------------------------------------------------------ refund

    /// @inheritdoc ISessionChannels
    function refund(ChannelConfig calldata config, uint128 amount) external nonReentrant {
        require(msg.sender == config.receiver || msg.sender == config.receiverAuthorizer, NotAuthorizedToRefund());
        bytes32 channelId = getChannelId(config);
        _refund(config, channelId, amount, _withdrawals[channelId]);
    }

    /// @inheritdoc ISessionChannels
    function refundWithSignature(
        ChannelConfig calldata config,
        uint128 amount,
        uint256 nonce,
        bytes calldata receiverAuthorizerSignature
    ) external nonReentrant {
        bytes32 channelId = getChannelId(config);
        WithdrawalState memory withdrawal = _withdrawals[channelId];
        require(nonce == withdrawal.refundNonce, InvalidRefundNonce());
        require(
            SignatureChecker.isValidSignatureNowCalldata(
                config.receiverAuthorizer, getRefundDigest(channelId, nonce, amount), receiverAuthorizerSignature
            ),
            InvalidSignature()
        );
        _refund(config, channelId, amount, withdrawal);
    }

    function _refund(
        ChannelConfig calldata config,
        bytes32 channelId,
        uint128 amount,
        WithdrawalState memory withdrawal
    ) private {
        require(amount != 0, ZeroRefund());
        (uint128 paid, bool closed) = _debit(channelId, amount);

        withdrawal.refundNonce += 1;
        if (paid >= withdrawal.amount) (withdrawal.amount, withdrawal.initiatedAt) = (0, 0);
        else withdrawal.amount -= paid;
        _withdrawals[channelId] = withdrawal;

        if (paid == 0) return;
        IERC20(config.token).safeTransfer(config.payer, paid);
        emit Refunded(channelId, msg.sender, paid);
        if (closed) emit ChannelClosed(channelId, config);
    }

    /// @dev Takes up to `amount` of what is unclaimed out of the channel.
    /// @return paid What was taken; the caller must transfer it to the payer.
    /// @return closed Whether the channel is now as if it had never been.
    function _debit(bytes32 channelId, uint128 amount) private returns (uint128 paid, bool closed) {
        ChannelState memory state = channels[channelId];
        uint128 available = state.balance - state.totalClaimed;
        paid = amount < available ? amount : available;
        state.balance -= paid;
        if (paid != 0) channels[channelId] = state;
        closed = state.balance == 0 && state.totalClaimed == 0;
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc ISessionChannels
    function pendingWithdrawals(bytes32 channelId) external view returns (uint128 amount, uint40 initiatedAt) {
        WithdrawalState storage withdrawal = _withdrawals[channelId];
        return (withdrawal.amount, withdrawal.initiatedAt);
    }

    /// @inheritdoc ISessionChannels
    function refundNonce(bytes32 channelId) external view returns (uint256) {
        return _withdrawals[channelId].refundNonce;
    }

    /// @inheritdoc ISessionChannels
    function getChannelId(ChannelConfig calldata config) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(CHANNEL_CONFIG_TYPEHASH, config)));
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
    function getClaimBatchDigest(VoucherClaim[] calldata voucherClaims) external view returns (bytes32 digest) {
        (digest,) = _hashClaimBatch(voucherClaims);
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
    function _hashClaimBatch(VoucherClaim[] calldata voucherClaims)
        private
        view
        returns (bytes32 digest, bytes32[] memory channelIds)
    {
        ClaimFrame memory frame = ClaimFrameLib.create(_domainSeparatorV4());
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
