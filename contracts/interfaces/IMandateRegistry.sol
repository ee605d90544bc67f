// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDepositCollector} from "./IDepositCollector.sol";
import {ISessionChannels} from "./ISessionChannels.sol";

/// @title IMandateRegistry
/// @notice Spend mandates: a principal signs what its agent (the delegate) may spend, and the agent, or whoever holds its
/// signature, spends within it: straight to a payee, or as the deposit of a channel to that payee. A delegate may sign
/// sub-mandates, which only narrow, and every payment is charged to the mandate and to all its ancestors at once.
/// @dev A mandate is never stored. Callers pass it, its hash is its id, and one slot keeps what was spent under that id.
/// A *lineage* is the mandate, then its parent, and so on up to the root that the principal granted.
///
/// The registry never holds tokens: they go from the principal to the payee or to a channel contract. What it bounds is
/// what leaves the principal; a refund or withdrawal of a channel goes to the principal and restores no budget.
interface IMandateRegistry is IDepositCollector {
    // ------------------------------------------------------------------ types

    /// @notice What a grantor signs. Its EIP-712 typed-data hash is its id. Amounts are atomic token units, times Unix
    /// seconds.
    struct Mandate {
        /// Whose tokens are spent. A sub-mandate names its root's principal.
        address principal;
        /// The agent: may spend, and grants the mandates that name this one as their parent.
        address delegate;
        address token;
        /// Most that may be spent in all. What passes MAX_SPENT counts as MAX_SPENT.
        uint128 limit;
        /// Most in one period; 0 exactly when there are no periods.
        uint128 periodLimit;
        /// Most in one payment.
        uint128 paymentLimit;
        /// Seconds; period n begins at validAfter + n * period. 0: none.
        uint40 period;
        /// First second in which it is valid.
        uint40 validAfter;
        /// Last second in which it is valid.
        uint40 validUntil;
        /// The principal's epoch in which it is valid.
        uint32 epoch;
        /// Merkle root of the payees (OpenZeppelin's standard tree over ["address"]), or zero: any.
        bytes32 payeesRoot;
        /// keccak256 of the one capability tag it may buy, or zero: any. Kept off chain, where services are known; here a
        /// sub-mandate must keep its parent's.
        bytes32 capability;
        /// Id of the mandate it narrows, whose delegate grants it. Zero: a root, granted by the principal.
        bytes32 parent;
        /// Hash of the off-chain terms, or zero.
        bytes32 terms;
        bytes32 salt;
    }

    /// @notice What the registry keeps of a mandate; one slot. Amounts are atomic units.
    struct MandateState {
        /// Spent in all, by it and by every mandate below it.
        uint128 spent;
        /// Spent in the period `periodIndex`, likewise.
        uint128 periodSpent;
        /// The period in which it was last charged; 0 where there are no periods.
        uint40 periodIndex;
        /// Mandates above it; 0 for a root.
        uint8 depth;
        bool approved;
        bool revoked;
    }

    /// @notice One payment.
    struct Spend {
        Mandate[] lineage;
        /// For each mandate of the lineage, the proof that `payee` is among its payees. May be shorter: what is missing is
        /// the empty proof.
        bytes32[][] proofs;
        /// For each mandate of the lineage that is not yet approved, its grantor's signature. May be shorter.
        bytes[] approvals;
        address payee;
        uint128 amount;
        /// Where the tokens come from. Empty: the allowance that the principal gave the registry. Else the principal's
        /// single-use ERC-3009 authorisation: abi.encode(uint256 validAfter, uint256 validBefore, bytes32 salt,
        /// bytes signature) of a ReceiveWithAuthorization of exactly `amount` to the registry with nonce
        /// keccak256(abi.encode(rootId, salt)), rootId being the root mandate of the lineage.
        bytes authorization;
    }

    /// @notice A payment with the delegate's consent.
    struct SignedSpend {
        Spend order;
        /// Single-use, among those of the mandate; low and consecutive ones cost least.
        uint256 nonce;
        /// Last second in which the signature counts.
        uint256 deadline;
        /// The delegate's over MandateSpend. Empty: the sender is the delegate, and nonce and deadline are ignored.
        bytes signature;
    }

    /// @notice `data` of `collect`, ABI-encoded: a channel's deposit as a payment to its receiver.
    struct Deposit {
        ISessionChannels.ChannelConfig config;
        /// `order.payee` is the channel's receiver, `order.amount` the deposit; `signature` is the delegate's over
        /// MandateDeposit, and never empty.
        SignedSpend row;
    }

    /// @notice One approval of a batch.
    struct Approval {
        Mandate[] lineage;
        /// The grantor's. Empty: the sender is the grantor.
        bytes signature;
    }

    /// @notice The principal's consent to start the withdrawal of a channel: WithdrawRequest of SessionChannels.
    struct Withdrawal {
        address channels;
        ISessionChannels.ChannelConfig config;
        /// At most this much of what is unclaimed.
        uint128 amount;
        uint256 deadline;
        bytes signature;
    }

    // ------------------------------------------------------------------ events

    event MandateApproved(
        bytes32 indexed mandateId, address indexed principal, address indexed delegate, Mandate mandate
    );
    /// @notice Tokens left the principal under that mandate; its ancestors were charged the same.
    /// @param payee Who is paid; the receiver when a channel was funded.
    /// @param totalSpent Of this mandate, with this payment.
    event MandateSpent(
        bytes32 indexed mandateId,
        address indexed principal,
        address indexed payee,
        address token,
        uint128 amount,
        uint128 totalSpent
    );
    /// @notice Beside MandateSpent when the tokens were the deposit of a channel.
    event ChannelFunded(
        bytes32 indexed mandateId,
        bytes32 indexed channelId,
        address indexed principal,
        address channels,
        uint128 amount
    );
    /// @param by Who revoked it: the principal, or the delegate of its parent.
    event MandateRevoked(bytes32 indexed mandateId, address indexed principal, address indexed by);
    event EpochBumped(address indexed principal, uint32 epoch);
    /// @notice A row of a batch moved nothing and changed nothing.
    /// @param row Its index. @param mandateId Of the row, or zero when its lineage is empty.
    /// @param reason The error that `spend` would have reverted with, cut to 256 bytes.
    event SpendSkipped(uint256 indexed row, bytes32 indexed mandateId, bytes reason);
    /// @notice A revocation could not start the withdrawal of a channel; the revocation stands.
    /// @param reason The channel contract's error, cut to 256 bytes.
    event WithdrawalSkipped(address indexed channels, uint256 indexed index, bytes reason);

    // ------------------------------------------------------------------ errors

    /// @notice A term contradicts another or makes the mandate useless.
    error InvalidMandate(bytes32 mandateId);
    /// @notice A lineage is empty, longer than MAX_DEPTH + 1, or names the wrong parent.
    error InvalidLineage(bytes32 mandateId);
    /// @notice A sub-mandate allows what its parent does not.
    error WiderThanParent(bytes32 mandateId, bytes32 parent);
    error TooDeep(bytes32 mandateId, uint256 depth);
    error MandateNotApproved(bytes32 mandateId);
    error MandateIsRevoked(bytes32 mandateId);
    error WrongEpoch(bytes32 mandateId, uint32 epoch, uint32 current);
    error NotYetValid(bytes32 mandateId, uint40 validAfter, uint256 timestamp);
    error NoLongerValid(bytes32 mandateId, uint40 validUntil, uint256 timestamp);
    error PaymentLimitExceeded(bytes32 mandateId, uint256 amount, uint256 limit);
    error PeriodLimitExceeded(bytes32 mandateId, uint256 spent, uint256 limit);
    error LimitExceeded(bytes32 mandateId, uint256 spent, uint256 limit);
    error PayeeNotAllowed(bytes32 mandateId, address payee);
    /// @notice The zero address, the registry, or a channel contract, which is paid by deposit alone.
    error InvalidPayee(address payee);
    error ZeroAmount();
    error NotGrantor(address sender, address grantor);
    error NotDelegate(address sender, address delegate);
    /// @notice Only the principal and the parent's delegate may revoke.
    error NotRevoker(address sender);
    error InvalidSignature(address signer);
    error SignatureExpired(uint256 deadline, uint256 timestamp);
    error NonceAlreadyUsed(bytes32 mandateId, uint256 nonce);
    error OnlyChannelContract(address sender);
    error OnlySelf(address sender);
    /// @notice The deposit is not that of the config in its data, or not of the mandate's principal and token.
    error WrongChannel(bytes32 channelId);
    /// @notice The token moved another amount than was asked for: the registry's balance is not what it must be.
    error WrongTokenBalance(address token, uint256 balance, uint256 expected);
    /// @notice The transaction carries too little gas to tell a row that fails from one that is starved.
    error InsufficientGas();
    error InvalidChannelContract(address channels);

    // ------------------------------------------------------------------ approve

    /// @notice Approves the mandate `lineage[0]`; the sender must be its grantor. A no-op when it is approved already.
    /// @param lineage The mandate, and its parent when it has one; what follows is not read. The parent must be approved.
    /// @dev Refuses with InvalidMandate, InvalidLineage, WiderThanParent, TooDeep, MandateNotApproved (the parent),
    /// MandateIsRevoked (either), NotGrantor or InvalidSignature. The epoch and the times count when tokens move, not here.
    function approve(Mandate[] calldata lineage) external;

    /// @notice As `approve`, by anyone who holds the grantor's signature of the mandate (ECDSA or ERC-1271 by code).
    function approveWithSignature(Mandate[] calldata lineage, bytes calldata signature) external;

    /// @notice Approves several, in order, all or none: a parent may stand before its children.
    function approveBatch(Approval[] calldata approvals) external;

    // ------------------------------------------------------------------ spend

    /// @notice Pays; the sender must be the delegate of `order.lineage[0]`.
    /// @dev Refuses with ZeroAmount and InvalidPayee; then goes from the root down and looks, at each mandate, at lineage,
    /// revocation, approval, epoch (of the root: a sub-mandate has its parent's), validity, limit per payment, limit, limit
    /// per period and payee, in that order; then with NotDelegate; at last with whatever the token says.
    function spend(Spend calldata order) external;

    /// @notice As `spend`, by anyone who holds the delegate's signature of MandateSpend.
    /// @dev In the place of NotDelegate refuses with SignatureExpired, NonceAlreadyUsed, InvalidSignature.
    function spendWithSignature(SignedSpend calldata row) external;

    /// @notice Pays row after row. A row that `spend` or `spendWithSignature` would refuse is skipped with SpendSkipped and
    /// changes nothing, its approvals included; the others stand.
    /// @dev Each row gets exactly ROW_GAS, so why one fails never depends on the gas sent; with less than that left the
    /// whole call reverts with InsufficientGas.
    function spendBatch(SignedSpend[] calldata rows) external;

    /// @notice What `spend` (or, with a signature, `spendWithSignature`) would do now if `sender` sent it. Call it with
    /// eth_call; in a transaction too it changes nothing.
    /// @dev Not a view: it makes the very payment, token and all, and reverts it, so that it is right for every token.
    /// @return ok Whether it would pay.
    /// @return reason Empty when it would pay, else the error it would revert with.
    function preview(SignedSpend calldata row, address sender) external returns (bool ok, bytes memory reason);

    // ------------------------------------------------------------------ revoke

    /// @notice Ends the mandate `lineage[0]` for ever, and with it every mandate below; it need not be approved. The sender
    /// must be the principal, or the delegate of its parent, `lineage[1]` (else NotRevoker). A no-op the second time.
    function revoke(Mandate[] calldata lineage) external;

    /// @notice As `revoke`, and starts the withdrawals of channels that the mandate funded.
    /// @param withdrawals Consents of the principal. One that cannot be started is skipped with WithdrawalSkipped, and can be
    /// sent to its channel contract later. One for another contract refuses the call (InvalidChannelContract).
    function revokeAndWithdraw(Mandate[] calldata lineage, Withdrawal[] calldata withdrawals) external;

    /// @notice As `revokeAndWithdraw`, by anyone who holds the revoker's signature of MandateRevocation. That has no
    /// deadline: what it says stays true.
    function revokeWithSignature(
        Mandate[] calldata lineage,
        Withdrawal[] calldata withdrawals,
        address revoker,
        bytes calldata signature
    ) external;

    /// @notice Ends every mandate of the sender's, approved or only signed, by beginning its next epoch.
    function bumpEpoch() external returns (uint32 epoch);

    // ------------------------------------------------------------------ views

    /// @notice The most that could be spent now under `lineage[0]`, in however many payments: the least over the lineage of
    /// what its limits leave. 0 when nothing could: not approved, revoked, another epoch, not valid now, or no lineage.
    function remaining(Mandate[] calldata lineage) external view returns (uint128 amount);

    function mandates(bytes32 mandateId) external view returns (MandateState memory);

    function epochs(address principal) external view returns (uint32);

    /// @notice Whether the nonce of a spend or deposit under that mandate is used.
    function isNonceUsed(bytes32 mandateId, uint256 nonce) external view returns (bool);

    /// @notice Whether `account` is one of the channel contracts that may call `collect`.
    function isChannelContract(address account) external view returns (bool);

    function getMandateId(Mandate calldata mandate) external view returns (bytes32);

    /// @notice What a delegate signs for `spendWithSignature`.
    function getSpendDigest(bytes32 mandateId, address payee, uint128 amount, uint256 nonce, uint256 deadline)
        external
        view
        returns (bytes32);

    /// @notice What a delegate signs for `collect`.
    function getDepositDigest(bytes32 mandateId, bytes32 channelId, uint128 amount, uint256 nonce, uint256 deadline)
        external
        view
        returns (bytes32);

    /// @notice What a revoker signs for `revokeWithSignature`.
    function getRevocationDigest(bytes32 mandateId) external view returns (bytes32);

    /// @notice Deepest sub-mandate; a root is at depth 0.
    function MAX_DEPTH() external view returns (uint256);

    /// @notice Most that is ever spent under one mandate, whatever its limit, atomic units.
    function MAX_SPENT() external view returns (uint128);

    /// @notice Gas each row of a batch gets.
    function ROW_GAS() external view returns (uint256);

    function MANDATE_TYPEHASH() external view returns (bytes32);
    function SPEND_TYPEHASH() external view returns (bytes32);
    function DEPOSIT_TYPEHASH() external view returns (bytes32);
    function REVOCATION_TYPEHASH() external view returns (bytes32);
}
