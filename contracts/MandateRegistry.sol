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
import {MandateView, MandateViewLib} from "./libraries/MandateView.sol";

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

    /// @dev What a payment is, once it has been charged.
    struct Charge {
        bytes32 mandateId;
        bytes32 rootId;
        address delegate;
        address principal;
        address token;
        address payee;
        uint128 amount;
        uint128 totalSpent;
    }

    /// @dev A struct, so that its slot is found once for reading and writing.
    struct Stored {
        MandateWord word;
    }

    mapping(bytes32 mandateId => Stored) private _stored;
    /// @inheritdoc IMandateRegistry
    mapping(address principal => uint32) public epochs;
    /// @dev Used nonces of a mandate as bits: nonce n is bit n % 256 of word n / 256.
    mapping(bytes32 mandateId => mapping(uint256 word => uint256 bits)) private _nonces;

    constructor(address sessionChannels_, address publishedChannels_) EIP712("Tallystick Mandate Registry", "1") {
        require(sessionChannels_ != address(0) && publishedChannels_ != address(0), InvalidChannelContract(address(0)));
        sessionChannels = sessionChannels_;
        publishedChannels = publishedChannels_;
    }

    // ------------------------------------------------------------------ approve

    /// @inheritdoc IMandateRegistry
    function approve(Mandate[] calldata lineage) external {
        _approveFor(lineage, msg.data[0:0]);
    }

    /// @inheritdoc IMandateRegistry
    function approveWithSignature(Mandate[] calldata lineage, bytes calldata signature) external {
        _approveFor(lineage, signature);
    }

    /// @inheritdoc IMandateRegistry
    function approveBatch(Approval[] calldata approvals) external {
        for (uint256 i; i < approvals.length; ++i) {
            _approveFor(approvals[i].lineage, approvals[i].signature);
        }
    }

    /// @param signature The grantor's; empty when the sender is the grantor.
    function _approveFor(Mandate[] calldata lineage, bytes calldata signature) private {
        (MandateView mandate, bytes32 mandateId) = _first(lineage);
        Stored storage stored = _stored[mandateId];
        require(!stored.word.isRevoked(), MandateIsRevoked(mandateId));
        if (stored.word.isApproved()) return;

        MandateView parent = mandate;
        address grantor = mandate.principal();
        uint256 depth;
        if (mandate.parent() != 0) {
            (parent, depth) = _parentIn(lineage, mandate.parent(), mandateId);
            grantor = parent.delegate();
        }
        if (signature.length != 0) _requireSignature(grantor, mandateId, signature);
        else require(msg.sender == grantor, NotGrantor(msg.sender, grantor));
        stored.word = _approve(mandate, parent, mandateId, depth);
    }

    /// @dev The parent's id is its hash, so nobody can pass another's delegate for it.
    /// @return parent The parent itself.
    /// @return depth Of its child.
    function _parentIn(Mandate[] calldata lineage, bytes32 parentId, bytes32 mandateId)
        private
        view
        returns (MandateView parent, uint256 depth)
    {
        require(lineage.length > 1, InvalidLineage(mandateId));
        bytes32 id;
        (parent, id) = _read(lineage[1]);
        require(id == parentId, InvalidLineage(mandateId));
        MandateWord word = _stored[parentId].word;
        require(!word.isRevoked(), MandateIsRevoked(parentId));
        require(word.isApproved(), MandateNotApproved(parentId));
        depth = word.depth() + 1;
    }

    /// @dev The caller has made sure of the grantor's word and, when `depth` is not 0, that `parent` is approved.
    /// @return The word that the caller stores.
    function _approve(MandateView mandate, MandateView parent, bytes32 mandateId, uint256 depth)
        private
        returns (MandateWord)
    {
        require(mandate.isSound(), InvalidMandate(mandateId));
        if (depth != 0) {
            require(depth <= MAX_DEPTH, TooDeep(mandateId, depth));
            require(mandate.isWithin(parent), WiderThanParent(mandateId, mandate.parent()));
        }
        mandate.emitApproved(mandateId);
        return MandateStateLib.approved(depth);
    }

    // ------------------------------------------------------------------ spend

    /// @inheritdoc IMandateRegistry
    function spend(Spend calldata order) external {
        Charge memory charge = _charge(order);
        require(msg.sender == charge.delegate, NotDelegate(msg.sender, charge.delegate));
        _move(order.authorization, charge, charge.payee);
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
        Charge memory charge = _charge(row.order);
        if (row.signature.length == 0) {
            require(sender == charge.delegate, NotDelegate(sender, charge.delegate));
        } else {
            bytes32 digest =
                getSpendDigest(charge.mandateId, charge.payee, charge.amount, row.nonce, row.deadline);
            _useConsent(row, charge, digest);
        }
        _move(row.order.authorization, charge, charge.payee);
    }

    /// @dev The delegate's signature, once.
    function _useConsent(SignedSpend calldata row, Charge memory charge, bytes32 digest) private {
        (uint256 nonce, uint256 deadline) = (row.nonce, row.deadline);
        require(block.timestamp <= deadline, SignatureExpired(deadline, block.timestamp));
        uint256 bits = _nonces[charge.mandateId][nonce >> 8];
        uint256 bit = 1 << (nonce & 0xff);
        require(bits & bit == 0, NonceAlreadyUsed(charge.mandateId, nonce));
        _nonces[charge.mandateId][nonce >> 8] = bits | bit;
        _requireSignature(charge.delegate, digest, row.signature);
    }

    // ------------------------------------------------------------------ charge

    /// @dev Charges the order to its whole lineage, from the root down. Whether the delegate wants it is the caller's to
    /// check, before tokens move.
    function _charge(Spend calldata order) private returns (Charge memory charge) {
        (charge.payee, charge.amount) = (order.payee, order.amount);
        require(charge.amount != 0, ZeroAmount());
        _requirePayable(charge.payee);

        uint256 level = order.lineage.length;
        require(level != 0 && level <= MAX_DEPTH + 1, InvalidLineage(0));
        MandateView mandate = _chargeRoot(order, charge, --level);
        while (level != 0) {
            mandate = _chargeBelow(order, charge, --level, mandate);
        }
        (charge.delegate, charge.principal, charge.token) = (mandate.delegate(), mandate.principal(), mandate.token());
        emit MandateSpent(
            charge.mandateId, charge.principal, charge.payee, charge.token, charge.amount, charge.totalSpent
        );
    }

    function _chargeRoot(Spend calldata order, Charge memory charge, uint256 level)
        private
        returns (MandateView root)
    {
        bytes32 rootId;
        (root, rootId) = _read(order.lineage[level]);
        require(root.parent() == 0, InvalidLineage(rootId));
        Stored storage stored = _stored[rootId];
        MandateWord word = stored.word;
        require(!word.isRevoked(), MandateIsRevoked(rootId));
        if (!word.isApproved()) {
            _requireApproval(order, level, rootId, root.principal());
            word = _approve(root, root, rootId, 0);
        }
        uint32 current = epochs[root.principal()];
        require(root.epoch() == current, WrongEpoch(rootId, root.epoch(), current));
        charge.rootId = rootId;
        stored.word = _chargeOne(order, charge, level, root, rootId, word);
    }

    function _chargeBelow(Spend calldata order, Charge memory charge, uint256 level, MandateView parent)
        private
        returns (MandateView mandate)
    {
        bytes32 mandateId;
        (mandate, mandateId) = _read(order.lineage[level]);
        require(mandate.parent() == charge.mandateId, InvalidLineage(mandateId));
        Stored storage stored = _stored[mandateId];
        MandateWord word = stored.word;
        require(!word.isRevoked(), MandateIsRevoked(mandateId));
        if (!word.isApproved()) {
            _requireApproval(order, level, mandateId, parent.delegate());
            word = _approve(mandate, parent, mandateId, order.lineage.length - 1 - level);
        }
        stored.word = _chargeOne(order, charge, level, mandate, mandateId, word);
    }

    /// @dev First use: by the grantor's signature in the order.
    function _requireApproval(Spend calldata order, uint256 level, bytes32 mandateId, address grantor) private view {
        bytes[] calldata approvals = order.approvals;
        require(level < approvals.length && approvals[level].length != 0, MandateNotApproved(mandateId));
        _requireSignature(grantor, mandateId, approvals[level]);
    }

    /// @dev Charges one approved mandate of the lineage.
    /// @return charged The word that the caller stores.
    function _chargeOne(
        Spend calldata order,
        Charge memory charge,
        uint256 level,
        MandateView mandate,
        bytes32 mandateId,
        MandateWord word
    ) private view returns (MandateWord charged) {
        require(
            block.timestamp >= mandate.validAfter(), NotYetValid(mandateId, mandate.validAfter(), block.timestamp)
        );
        require(
            block.timestamp <= mandate.validUntil(), NoLongerValid(mandateId, mandate.validUntil(), block.timestamp)
        );
        charged = _spendOf(mandate, mandateId, word, charge.amount);
        if (mandate.payeesRoot() != 0) _requirePayee(order.proofs, level, mandate.payeesRoot(), mandateId, charge.payee);
        (charge.mandateId, charge.totalSpent) = (mandateId, uint128(charged.spent()));
    }

    function _requirePayable(address payee) private view {
        require(
            payee != address(0) && payee != address(this) && !isChannelContract(payee), InvalidPayee(payee)
        );
    }

    /// @dev The word after spending `amount` now, within its limits.
    function _spendOf(MandateView mandate, bytes32 mandateId, MandateWord word, uint256 amount)
        private
        view
        returns (MandateWord)
    {
        require(amount <= mandate.paymentLimit(), PaymentLimitExceeded(mandateId, amount, mandate.paymentLimit()));
        // Both are far below 2^256, and what is kept is at most MAX_SPENT.
        unchecked {
            uint256 spent = word.spent() + amount;
            require(spent <= _cap(mandate.limit()), LimitExceeded(mandateId, spent, mandate.limit()));
            uint256 period = mandate.period();
            if (period == 0) return word.charged(spent, 0, 0);
            uint256 index = (block.timestamp - mandate.validAfter()) / period;
            uint256 periodSpent = word.periodSpent(index) + amount;
            require(
                periodSpent <= _cap(mandate.periodLimit()),
                PeriodLimitExceeded(mandateId, periodSpent, mandate.periodLimit())
            );
            return word.charged(spent, index, periodSpent);
        }
    }

    function _requirePayee(bytes32[][] calldata proofs, uint256 level, bytes32 root, bytes32 mandateId, address payee)
        private
        pure
    {
        bytes32 node = keccak256(abi.encode(keccak256(abi.encode(payee))));
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
    function _move(bytes calldata authorization, Charge memory charge, address to) private {
        IERC20 token = IERC20(charge.token);
        if (authorization.length == 0) return token.safeTransferFrom(charge.principal, to, charge.amount);
        uint256 balanceBefore = token.balanceOf(address(this));
        _receive(authorization, charge);
        _requireBalance(token, balanceBefore + charge.amount);
        token.safeTransfer(to, charge.amount);
        _requireBalance(token, balanceBefore);
    }

    function _receive(bytes calldata authorization, Charge memory charge) private {
        (uint256 validAfter, uint256 validBefore, bytes32 salt, bytes memory signature) =
            abi.decode(authorization, (uint256, uint256, bytes32, bytes));
        IERC3009(charge.token).receiveWithAuthorization(
            charge.principal,
            address(this),
            charge.amount,
            validAfter,
            validBefore,
            keccak256(abi.encode(charge.rootId, salt)),
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
        Charge memory charge = _charge(row.order);
        require(
            payer == charge.principal && token == charge.token && amount == charge.amount
                && _isChannel(deposit.config, channelId, charge),
            WrongChannel(channelId)
        );
        bytes32 digest = getDepositDigest(charge.mandateId, channelId, charge.amount, row.nonce, row.deadline);
        _useConsent(row, charge, digest);
        emit ChannelFunded(charge.mandateId, channelId, payer, msg.sender, charge.amount);
        _move(row.order.authorization, charge, msg.sender);
    }

    /// @dev `channelId` is that config's at the calling contract, and it is the principal's channel to the order's payee.
    function _isChannel(ISessionChannels.ChannelConfig calldata config, bytes32 channelId, Charge memory charge)
        private
        view
        returns (bool)
    {
        return channelId == MandateTypes.channelIdAt(msg.sender, config) && config.payer == charge.principal
            && config.token == charge.token && config.receiver == charge.payee;
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
    function revoke(Mandate[] calldata lineage) external {
        _revoke(lineage, msg.sender);
    }

    /// @inheritdoc IMandateRegistry
    function revokeAndWithdraw(Mandate[] calldata lineage, Withdrawal[] calldata withdrawals) external {
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
        MandateView mandate;
        (mandate, mandateId) = _first(lineage);
        if (revoker != mandate.principal()) {
            require(
                lineage.length > 1 && revoker == lineage[1].delegate && getMandateId(lineage[1]) == mandate.parent(),
                NotRevoker(revoker)
            );
        }
        Stored storage stored = _stored[mandateId];
        if (stored.word.isRevoked()) return mandateId;
        stored.word = stored.word.revoked();
        emit MandateRevoked(mandateId, mandate.principal(), revoker);
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
        MandateView mandate;
        while (level != 0) {
            bytes32 parent = mandateId;
            (mandate, mandateId) = _read(lineage[--level]);
            if (mandate.parent() != parent) return 0;
            uint256 left = _left(mandate, _stored[mandateId].word);
            if (left < least) least = left;
        }
        return uint128(least);
    }

    /// @dev What a mandate alone would still let through now.
    function _left(MandateView mandate, MandateWord word) private view returns (uint256 left) {
        bool stands = word.isApproved() && !word.isRevoked();
        if (!stands || block.timestamp < mandate.validAfter() || block.timestamp > mandate.validUntil()) return 0;
        left = _cap(mandate.limit()) - word.spent();
        if (mandate.period() == 0) return left;
        uint256 index = (block.timestamp - mandate.validAfter()) / mandate.period();
        uint256 inPeriod = _cap(mandate.periodLimit()) - word.periodSpent(index);
        return inPeriod < left ? inPeriod : left;
    }

    /// @inheritdoc IMandateRegistry
    function mandates(bytes32 mandateId) external view returns (MandateState memory) {
        return _stored[mandateId].word.unpack();
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
    function getMandateId(Mandate calldata mandate) public view returns (bytes32 mandateId) {
        (, mandateId) = _read(mandate);
    }

    function _read(Mandate calldata source) private view returns (MandateView mandate, bytes32 mandateId) {
        (mandate, mandateId) = MandateViewLib.read(source);
        mandateId = _hashTypedDataV4(mandateId);
    }

    function _first(Mandate[] calldata lineage) private view returns (MandateView, bytes32) {
        require(lineage.length != 0, InvalidLineage(0));
        return _read(lineage[0]);
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
