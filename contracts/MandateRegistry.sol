// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {IDepositCollector} from "./interfaces/IDepositCollector.sol";
import {IERC3009} from "./interfaces/IERC3009.sol";
import {IMandateRegistry} from "./interfaces/IMandateRegistry.sol";
import {ISessionChannels} from "./interfaces/ISessionChannels.sol";
import {BoundedCall} from "./libraries/BoundedCall.sol";
import {MandateStateLib, MandateWord} from "./libraries/MandateStateLib.sol";
import {MandateTypes} from "./libraries/MandateTypes.sol";

/// @title MandateRegistry
/// @notice A principal signs what its agent may spend; the agent spends within it, and never more. Ownerless, without proxy
/// or pause; holds no tokens.
/// @dev What holds after every call, for a mandate m that was ever charged:
///
///     spent(m) = payments under m itself + payments under every mandate below m   <= limit(m)
///     the same within each period                                                 <= periodLimit(m)
///
/// An approved mandate's ancestors are approved and none allows less than it in limit, payment, time, token or capability;
/// so an ancestor is never asked for its signature again, only for what it has left and whether it still stands. State is
/// written before any token is called, and no result of a call is used to write state, so there is no reentrancy guard.
contract MandateRegistry is IMandateRegistry, EIP712 {
    using SafeERC20 for IERC20;

    // ------------------------------------------------------------------ constants

    /// @inheritdoc IMandateRegistry
    uint256 public constant MAX_DEPTH = 8;
    /// @inheritdoc IMandateRegistry
    uint128 public constant MAX_SPENT = uint128(MandateStateLib.MAX_SPENT);
    /// @inheritdoc IMandateRegistry
    /// @dev Nine levels by contract wallets that check a P-256 signature in Solidity would still fit.
    uint256 public constant ROW_GAS = 4_000_000;
    /// @dev Several times what the payer's wallet and the channel contract use.
    uint256 private constant WITHDRAWAL_GAS = 600_000;

    bytes32 public constant MANDATE_TYPEHASH = MandateTypes.MANDATE;
    bytes32 public constant SPEND_TYPEHASH = MandateTypes.SPEND;
    bytes32 public constant DEPOSIT_TYPEHASH = MandateTypes.DEPOSIT;
    bytes32 public constant REVOCATION_TYPEHASH = MandateTypes.REVOCATION;

    /// @notice Our channel contract and the published one, which may be the same.
    address public immutable sessionChannels;
    address public immutable publishedChannels;

    // ------------------------------------------------------------------ storage

    mapping(bytes32 mandateId => MandateWord) private _words;
    /// @inheritdoc IMandateRegistry
    mapping(address principal => uint32) public epochs;
    /// @dev Used nonces of a mandate as bits: nonce n is bit n % 256 of word n / 256.
    mapping(bytes32 mandateId => mapping(uint256 word => uint256 bits)) private _nonces;

    constructor(address sessionChannels_, address publishedChannels_) EIP712("Tallystick Mandate Registry", "1") {
        require(_mayBeChannels(sessionChannels_), InvalidChannelContract(sessionChannels_));
        require(_mayBeChannels(publishedChannels_), InvalidChannelContract(publishedChannels_));
        sessionChannels = sessionChannels_;
        publishedChannels = publishedChannels_;
    }

    function _mayBeChannels(address account) private view returns (bool) {
        return account != address(0) && account != address(this);
    }

    // ------------------------------------------------------------------ approve

    /// @inheritdoc IMandateRegistry
    function approve(Mandate[] calldata lineage) external {
        _approveAsSender(lineage);
    }

    /// @inheritdoc IMandateRegistry
    function approveWithSignature(Mandate[] calldata lineage, bytes calldata signature) external {
        _approveBySignature(lineage, signature);
    }

    /// @inheritdoc IMandateRegistry
    function approveBatch(Approval[] calldata approvals) external {
        for (uint256 i; i < approvals.length; ++i) {
            Approval calldata approval = approvals[i];
            if (approval.signature.length == 0) _approveAsSender(approval.lineage);
            else _approveBySignature(approval.lineage, approval.signature);
        }
    }

    function _approveAsSender(Mandate[] calldata lineage) private {
        (bytes32 mandateId, MandateWord word) = _load(lineage);
        if (word.isApproved()) return;
        address grantor = _grantorOf(lineage, mandateId);
        require(msg.sender == grantor, NotGrantor(msg.sender, grantor));
        _approve(lineage, mandateId, word, _depthOf(lineage[0]));
    }

    function _approveBySignature(Mandate[] calldata lineage, bytes calldata signature) private {
        (bytes32 mandateId, MandateWord word) = _load(lineage);
        if (word.isApproved()) return;
        _requireSignature(_grantorOf(lineage, mandateId), mandateId, signature);
        _approve(lineage, mandateId, word, _depthOf(lineage[0]));
    }

    function _load(Mandate[] calldata lineage) private view returns (bytes32 mandateId, MandateWord word) {
        require(lineage.length != 0, InvalidLineage(0));
        mandateId = getMandateId(lineage[0]);
        word = _words[mandateId];
        require(!word.isRevoked(), MandateIsRevoked(mandateId));
    }

    /// @dev The parent's id is its hash, so nobody can pass another's delegate for it.
    function _grantorOf(Mandate[] calldata lineage, bytes32 mandateId) private view returns (address) {
        Mandate calldata mandate = lineage[0];
        if (mandate.parent == 0) return mandate.principal;
        require(lineage.length > 1 && getMandateId(lineage[1]) == mandate.parent, InvalidLineage(mandateId));
        return lineage[1].delegate;
    }

    function _depthOf(Mandate calldata mandate) private view returns (uint256) {
        bytes32 parent = mandate.parent;
        if (parent == 0) return 0;
        MandateWord word = _words[parent];
        require(!word.isRevoked(), MandateIsRevoked(parent));
        require(word.isApproved(), MandateNotApproved(parent));
        return word.depth() + 1;
    }

    /// @dev The caller has made sure of the grantor's word, and that the parent, if any, is lineage[1] and approved.
    function _approve(Mandate[] calldata lineage, bytes32 mandateId, MandateWord word, uint256 depth)
        private
        returns (MandateWord approved)
    {
        Mandate calldata mandate = lineage[0];
        _requireSound(mandate, mandateId);
        if (depth != 0) {
            require(depth <= MAX_DEPTH, TooDeep(mandateId, depth));
            _requireNarrower(mandate, lineage[1], mandateId);
        }
        approved = word.approved(depth);
        _words[mandateId] = approved;
        emit MandateApproved(mandateId, mandate.principal, mandate.delegate, mandate);
    }

    function _requireSound(Mandate calldata mandate, bytes32 mandateId) private pure {
        require(
            mandate.principal != address(0) && mandate.delegate != address(0) && mandate.token != address(0)
                && mandate.limit != 0 && mandate.paymentLimit != 0
                && (mandate.period == 0) == (mandate.periodLimit == 0) && mandate.validAfter <= mandate.validUntil,
            InvalidMandate(mandateId)
        );
    }

    /// @dev Payees and periods have no order that could be compared here: every payment is held against the parent's.
    function _requireNarrower(Mandate calldata child, Mandate calldata parent, bytes32 childId) private pure {
        require(
            child.principal == parent.principal && child.token == parent.token && child.epoch == parent.epoch
                && child.limit <= parent.limit && child.paymentLimit <= parent.paymentLimit
                && child.validAfter >= parent.validAfter && child.validUntil <= parent.validUntil
                && (parent.capability == 0 || child.capability == parent.capability),
            WiderThanParent(childId, child.parent)
        );
    }

    // ------------------------------------------------------------------ spend

    /// @inheritdoc IMandateRegistry
    function spend(Spend calldata order) external {
        (, bytes32 rootId) = _charge(order);
        _requireDelegate(order, msg.sender);
        _move(order, rootId, order.payee);
    }

    /// @inheritdoc IMandateRegistry
    function spendWithSignature(SignedSpend calldata row) external {
        _execute(row, msg.sender);
    }

    /// @inheritdoc IMandateRegistry
    function spendBatch(SignedSpend[] calldata rows) external {
        for (uint256 i; i < rows.length; ++i) {
            SignedSpend calldata row = rows[i];
            (bool success, bytes memory reason) =
                BoundedCall.tryCall(address(this), ROW_GAS, abi.encodeCall(this.executeRow, (row, msg.sender)));
            if (success) continue;
            Mandate[] calldata lineage = row.order.lineage;
            emit SpendSkipped(i, lineage.length == 0 ? bytes32(0) : getMandateId(lineage[0]), reason);
        }
    }

    /// @inheritdoc IMandateRegistry
    function preview(SignedSpend calldata row, address sender) external returns (bool ok, bytes memory reason) {
        (, bytes memory answer) = BoundedCall.tryCall(address(this), abi.encodeCall(this.simulateRow, (row, sender)));
        require(answer.length != 0, InsufficientGas());
        return abi.decode(answer, (bool, bytes));
    }

    /// @notice One row as `sender` would send it; for the registry itself, so that a row can fail alone.
    function executeRow(SignedSpend calldata row, address sender) external {
        require(msg.sender == address(this), OnlySelf(msg.sender));
        _execute(row, sender);
    }

    /// @notice Executes a row and always reverts, with abi.encode(bool ok, bytes reason); for the registry itself.
    function simulateRow(SignedSpend calldata row, address sender) external {
        require(msg.sender == address(this), OnlySelf(msg.sender));
        (bool ok, bytes memory reason) =
            BoundedCall.tryCall(address(this), abi.encodeCall(this.executeRow, (row, sender)));
        bytes memory answer = abi.encode(ok, reason);
        assembly ("memory-safe") {
            revert(add(answer, 0x20), mload(answer))
        }
    }

    function _execute(SignedSpend calldata row, address sender) private {
        Spend calldata order = row.order;
        (bytes32 mandateId, bytes32 rootId) = _charge(order);
        if (row.signature.length == 0) {
            _requireDelegate(order, sender);
        } else {
            bytes32 digest = getSpendDigest(mandateId, order.payee, order.amount, row.nonce, row.deadline);
            _useConsent(row, mandateId, digest);
        }
        _move(order, rootId, order.payee);
    }

    function _requireDelegate(Spend calldata order, address sender) private pure {
        address delegate = order.lineage[0].delegate;
        require(sender == delegate, NotDelegate(sender, delegate));
    }

    /// @dev The delegate's signature, once.
    function _useConsent(SignedSpend calldata row, bytes32 mandateId, bytes32 digest) private {
        (uint256 nonce, uint256 deadline) = (row.nonce, row.deadline);
        require(block.timestamp <= deadline, SignatureExpired(deadline, block.timestamp));
        uint256 bits = _nonces[mandateId][nonce >> 8];
        uint256 bit = 1 << (nonce & 0xff);
        require(bits & bit == 0, NonceAlreadyUsed(mandateId, nonce));
        _nonces[mandateId][nonce >> 8] = bits | bit;
        _requireSignature(row.order.lineage[0].delegate, digest, row.signature);
    }

    // ------------------------------------------------------------------ charge

    /// @dev Charges the order to its whole lineage, from the root down. Whether the delegate wants it is the caller's to
    /// check, before tokens move.
    function _charge(Spend calldata order) private returns (bytes32 mandateId, bytes32 rootId) {
        Mandate[] calldata lineage = order.lineage;
        uint256 levels = lineage.length;
        require(levels != 0 && levels <= MAX_DEPTH + 1, InvalidLineage(0));
        uint256 amount = order.amount;
        require(amount != 0, ZeroAmount());
        _requirePayable(order.payee);

        MandateWord word;
        for (uint256 depth; depth < levels; ++depth) {
            uint256 level = levels - 1 - depth;
            Mandate calldata mandate = lineage[level];
            bytes32 parent = mandateId;
            mandateId = getMandateId(mandate);
            require(mandate.parent == parent, InvalidLineage(mandateId));

            word = _words[mandateId];
            require(!word.isRevoked(), MandateIsRevoked(mandateId));
            if (!word.isApproved()) word = _approveInPassing(order, level, mandateId, word);
            if (depth == 0) {
                rootId = mandateId;
                _requireEpoch(mandate, mandateId);
            }
            _requireTime(mandate, mandateId);
            word = _spendOf(mandate, mandateId, word, amount);
            _requirePayee(order, level, mandate, mandateId);
            _words[mandateId] = word;
        }

        Mandate calldata leaf = lineage[0];
        emit MandateSpent(mandateId, leaf.principal, order.payee, leaf.token, uint128(amount), uint128(word.spent()));
    }

    /// @dev First use: by the grantor's signature in the order. The mandates above it have been dealt with.
    function _approveInPassing(Spend calldata order, uint256 level, bytes32 mandateId, MandateWord word)
        private
        returns (MandateWord)
    {
        bytes[] calldata approvals = order.approvals;
        require(level < approvals.length && approvals[level].length != 0, MandateNotApproved(mandateId));
        Mandate[] calldata lineage = order.lineage[level:];
        uint256 depth = lineage.length - 1;
        address grantor = depth == 0 ? lineage[0].principal : lineage[1].delegate;
        _requireSignature(grantor, mandateId, approvals[level]);
        return _approve(lineage, mandateId, word, depth);
    }

    function _requirePayable(address payee) private view {
        require(
            payee != address(0) && payee != address(this) && !isChannelContract(payee), InvalidPayee(payee)
        );
    }

    function _requireEpoch(Mandate calldata mandate, bytes32 mandateId) private view {
        uint32 current = epochs[mandate.principal];
        require(mandate.epoch == current, WrongEpoch(mandateId, mandate.epoch, current));
    }

    function _requireTime(Mandate calldata mandate, bytes32 mandateId) private view {
        (uint40 from, uint40 until) = (mandate.validAfter, mandate.validUntil);
        require(block.timestamp >= from, NotYetValid(mandateId, from, block.timestamp));
        require(block.timestamp <= until, NoLongerValid(mandateId, until, block.timestamp));
    }

    /// @dev The word after spending `amount` now, within its limits.
    function _spendOf(Mandate calldata mandate, bytes32 mandateId, MandateWord word, uint256 amount)
        private
        view
        returns (MandateWord)
    {
        require(amount <= mandate.paymentLimit, PaymentLimitExceeded(mandateId, amount, mandate.paymentLimit));
        uint256 spent = word.spent() + amount;
        require(spent <= _cap(mandate.limit), LimitExceeded(mandateId, spent, mandate.limit));
        uint256 period = mandate.period;
        if (period == 0) return word.charged(spent, 0, 0);
        uint256 index = (block.timestamp - mandate.validAfter) / period;
        uint256 periodSpent = word.periodSpent(index) + amount;
        require(
            periodSpent <= _cap(mandate.periodLimit), PeriodLimitExceeded(mandateId, periodSpent, mandate.periodLimit)
        );
        return word.charged(spent, index, periodSpent);
    }

    function _requirePayee(Spend calldata order, uint256 level, Mandate calldata mandate, bytes32 mandateId)
        private
        pure
    {
        bytes32 root = mandate.payeesRoot;
        if (root == 0) return;
        address payee = order.payee;
        bytes32 node = keccak256(abi.encode(keccak256(abi.encode(payee))));
        bytes32[][] calldata proofs = order.proofs;
        if (level < proofs.length) node = MerkleProof.processProofCalldata(proofs[level], node);
        require(node == root, PayeeNotAllowed(mandateId, payee));
    }

    function _cap(uint256 limit) private pure returns (uint256) {
        return limit < MAX_SPENT ? limit : MAX_SPENT;
    }

    // ------------------------------------------------------------------ move

    /// @dev Moves the order's tokens from the principal to `to`; whatever the token does, none stay here.
    ///
    /// By ERC-3009 the registry is the recipient and passes the tokens on, and its nonce names the root mandate. Only the
    /// recipient can use such an authorisation, so nobody can send it to the token past the registry, where no budget
    /// would be charged for it; a transfer straight to the payee could be.
    function _move(Spend calldata order, bytes32 rootId, address to) private {
        Mandate calldata mandate = order.lineage[0];
        IERC20 token = IERC20(mandate.token);
        uint256 amount = order.amount;
        if (order.authorization.length == 0) {
            token.safeTransferFrom(mandate.principal, to, amount);
            return;
        }
        uint256 balanceBefore = token.balanceOf(address(this));
        _receive(token, mandate.principal, amount, rootId, order.authorization);
        _requireBalance(token, balanceBefore + amount);
        token.safeTransfer(to, amount);
        _requireBalance(token, balanceBefore);
    }

    function _receive(IERC20 token, address principal, uint256 amount, bytes32 rootId, bytes calldata authorization)
        private
    {
        (uint256 validAfter, uint256 validBefore, bytes32 salt, bytes memory signature) =
            abi.decode(authorization, (uint256, uint256, bytes32, bytes));
        IERC3009(address(token)).receiveWithAuthorization(
            principal,
            address(this),
            amount,
            validAfter,
            validBefore,
            keccak256(abi.encode(rootId, salt)),
            signature
        );
    }

    function _requireBalance(IERC20 token, uint256 expected) private view {
        uint256 balance = token.balanceOf(address(this));
        require(balance == expected, WrongTokenBalance(address(token), balance, expected));
    }

    // ------------------------------------------------------------------ collect

    /// @inheritdoc IDepositCollector
    /// @dev `data` is abi.encode(Deposit). Anyone may send the deposit; what is in it is bound by the delegate's signature of
    /// the channel id, which is the hash of all of the channel's terms in the calling contract's domain.
    function collect(address payer, address token, uint256 amount, bytes32 channelId, bytes calldata data) external {
        require(isChannelContract(msg.sender), OnlyChannelContract(msg.sender));
        Deposit calldata deposit = _depositIn(data);
        SignedSpend calldata row = deposit.row;
        Spend calldata order = row.order;
        (bytes32 mandateId, bytes32 rootId) = _charge(order);
        Mandate calldata mandate = order.lineage[0];
        require(
            payer == mandate.principal && token == mandate.token && amount == order.amount
                && _isChannel(deposit.config, channelId, order),
            WrongChannel(channelId)
        );
        bytes32 digest = getDepositDigest(mandateId, channelId, order.amount, row.nonce, row.deadline);
        _useConsent(row, mandateId, digest);
        emit ChannelFunded(mandateId, channelId, payer, msg.sender, order.amount);
        _move(order, rootId, msg.sender);
    }

    /// @dev `channelId` is that config's at the calling contract, and it is the principal's channel to the order's payee.
    function _isChannel(ISessionChannels.ChannelConfig calldata config, bytes32 channelId, Spend calldata order)
        private
        view
        returns (bool)
    {
        Mandate calldata mandate = order.lineage[0];
        return channelId == MandateTypes.channelIdAt(msg.sender, config) && config.payer == mandate.principal
            && config.token == mandate.token && config.receiver == order.payee;
    }

    /// @dev Reads the struct where it lies. Its members are bounded by the calldata, as those of any argument.
    function _depositIn(bytes calldata data) private pure returns (Deposit calldata deposit) {
        uint256 offset = uint256(bytes32(data[:0x20]));
        bytes calldata body = data[offset:];
        assembly ("memory-safe") {
            deposit := body.offset
        }
    }

    // ------------------------------------------------------------------ revoke

    /// @inheritdoc IMandateRegistry
    function revoke(Mandate[] calldata lineage, Withdrawal[] calldata withdrawals) external {
        _revoke(lineage, msg.sender);
        _startWithdrawals(withdrawals);
    }

    /// @inheritdoc IMandateRegistry
    function revokeWithSignature(
        Mandate[] calldata lineage,
        Withdrawal[] calldata withdrawals,
        address revoker,
        bytes calldata signature
    ) external {
        bytes32 mandateId = _revoke(lineage, revoker);
        _requireSignature(revoker, getRevocationDigest(mandateId), signature);
        _startWithdrawals(withdrawals);
    }

    /// @inheritdoc IMandateRegistry
    function bumpEpoch() external returns (uint32 epoch) {
        epoch = ++epochs[msg.sender];
        emit EpochBumped(msg.sender, epoch);
    }

    function _revoke(Mandate[] calldata lineage, address revoker) private returns (bytes32 mandateId) {
        require(lineage.length != 0, InvalidLineage(0));
        Mandate calldata mandate = lineage[0];
        mandateId = getMandateId(mandate);
        if (revoker != mandate.principal) {
            require(
                lineage.length > 1 && revoker == lineage[1].delegate && getMandateId(lineage[1]) == mandate.parent,
                NotRevoker(revoker)
            );
        }
        MandateWord word = _words[mandateId];
        if (word.isRevoked()) return mandateId;
        _words[mandateId] = word.revoked();
        emit MandateRevoked(mandateId, mandate.principal, revoker);
    }

    /// @dev Anyone may send a consent to its channel contract; here it only goes along. The published contract knows no
    /// consents: there the payer sends initiateWithdraw itself.
    function _startWithdrawals(Withdrawal[] calldata withdrawals) private {
        for (uint256 i; i < withdrawals.length; ++i) {
            Withdrawal calldata withdrawal = withdrawals[i];
            require(isChannelContract(withdrawal.channels), InvalidChannelContract(withdrawal.channels));
            bytes memory data = abi.encodeCall(
                ISessionChannels.initiateWithdrawWithSignature,
                (withdrawal.config, withdrawal.amount, withdrawal.deadline, withdrawal.signature)
            );
            (bool success, bytes memory reason) = BoundedCall.tryCall(withdrawal.channels, WITHDRAWAL_GAS, data);
            if (!success) emit WithdrawalSkipped(withdrawal.channels, i, reason);
        }
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc IMandateRegistry
    function remaining(Mandate[] calldata lineage) external view returns (uint128) {
        uint256 level = lineage.length;
        if (level == 0 || level > MAX_DEPTH + 1) return 0;
        if (lineage[level - 1].epoch != epochs[lineage[level - 1].principal]) return 0;
        uint256 least = MAX_SPENT;
        bytes32 mandateId;
        while (level != 0) {
            Mandate calldata mandate = lineage[--level];
            if (mandate.parent != mandateId) return 0;
            mandateId = getMandateId(mandate);
            uint256 left = _left(mandate, _words[mandateId]);
            if (left < least) least = left;
        }
        return uint128(least);
    }

    /// @dev What a mandate alone would still let through now.
    function _left(Mandate calldata mandate, MandateWord word) private view returns (uint256 left) {
        bool stands = word.isApproved() && !word.isRevoked();
        if (!stands || block.timestamp < mandate.validAfter || block.timestamp > mandate.validUntil) return 0;
        left = _cap(mandate.limit) - word.spent();
        if (mandate.period == 0) return left;
        uint256 index = (block.timestamp - mandate.validAfter) / mandate.period;
        uint256 inPeriod = _cap(mandate.periodLimit) - word.periodSpent(index);
        return inPeriod < left ? inPeriod : left;
    }

    /// @inheritdoc IMandateRegistry
    function mandates(bytes32 mandateId) external view returns (MandateState memory) {
        return _words[mandateId].unpack();
    }

    /// @inheritdoc IMandateRegistry
    function isNonceUsed(bytes32 mandateId, uint256 nonce) external view returns (bool) {
        return _nonces[mandateId][nonce >> 8] >> (nonce & 0xff) & 1 != 0;
    }

    /// @inheritdoc IMandateRegistry
    function isChannelContract(address account) public view returns (bool) {
        return account == sessionChannels || account == publishedChannels;
    }

    /// @inheritdoc IMandateRegistry
    function getMandateId(Mandate calldata mandate) public view returns (bytes32) {
        return _hashTypedDataV4(MandateTypes.hashMandate(mandate));
    }

    /// @inheritdoc IMandateRegistry
    function getSpendDigest(bytes32 mandateId, address payee, uint128 amount, uint256 nonce, uint256 deadline)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(keccak256(abi.encode(SPEND_TYPEHASH, mandateId, payee, amount, nonce, deadline)));
    }

    /// @inheritdoc IMandateRegistry
    function getDepositDigest(bytes32 mandateId, bytes32 channelId, uint128 amount, uint256 nonce, uint256 deadline)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(keccak256(abi.encode(DEPOSIT_TYPEHASH, mandateId, channelId, amount, nonce, deadline)));
    }

    /// @inheritdoc IMandateRegistry
    function getRevocationDigest(bytes32 mandateId) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(REVOCATION_TYPEHASH, mandateId)));
    }

    /// @dev ECDSA for accounts without code, ERC-1271 for those with (wallets, EIP-7702 accounts).
    function _requireSignature(address signer, bytes32 digest, bytes calldata signature) private view {
        require(SignatureChecker.isValidSignatureNowCalldata(signer, digest, signature), InvalidSignature(signer));
    }
}
