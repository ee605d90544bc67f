// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title ISessionChannels
/// @notice Prepaid session channels: one deposit, many signed off-chain vouchers, settlement in batches.
/// @dev The first part is the published interface of the x402 `batch-settlement` scheme, to the selector. The second
/// part holds Tallystick's additions, none of which changes published behaviour.
interface ISessionChannels {
    // ------------------------------------------------------------------ published: types

    /// @notice Immutable terms of a channel; its EIP-712 typed-data hash is the channel id.
    struct ChannelConfig {
        /// Owner of the deposit; refunds and withdrawals go here.
        address payer;
        /// Key that signs vouchers by plain ECDSA, or zero: then `payer` signs (ECDSA or ERC-1271 by code).
        address payerAuthorizer;
        /// Who is paid.
        address receiver;
        /// Key that may claim and refund for the receiver.
        address receiverAuthorizer;
        /// ERC-20 of the channel.
        address token;
        /// Seconds between initiateWithdraw and finalizeWithdraw.
        uint40 withdrawDelay;
        /// Tells apart channels with otherwise equal terms.
        bytes32 salt;
    }

    /// @notice A payer's promise: up to `maxClaimableAmount` of the channel, cumulative, may be claimed.
    struct Voucher {
        ChannelConfig channel;
        uint128 maxClaimableAmount;
    }

    /// @notice One row of a plain claim: claim up to the cumulative `totalClaimed` under a voucher.
    struct VoucherClaim {
        Voucher voucher;
        bytes signature;
        uint128 totalClaimed;
    }

    /// @notice Funds of a channel, in atomic token units; one slot.
    struct ChannelState {
        uint128 balance;
        uint128 totalClaimed;
    }

    /// @notice Totals of a receiver in one token, in atomic token units; one slot.
    struct ReceiverState {
        uint128 totalClaimed;
        uint128 totalSettled;
    }

    // ------------------------------------------------------------------ published: events

    event ChannelCreated(bytes32 indexed channelId, ChannelConfig config);
    event Deposited(bytes32 indexed channelId, address indexed sender, uint128 amount, uint128 newBalance);
    event Claimed(bytes32 indexed channelId, address indexed sender, uint128 claimAmount, uint128 newTotalClaimed);
    event Settled(address indexed receiver, address indexed token, address indexed sender, uint128 amount);
    event WithdrawInitiated(bytes32 indexed channelId, uint128 amount, uint40 finalizeAfter);
    event WithdrawFinalized(bytes32 indexed channelId, address indexed sender, uint128 amount);
    event Refunded(bytes32 indexed channelId, address indexed sender, uint128 amount);
    event ChannelClosed(bytes32 indexed channelId, ChannelConfig config);

    // ------------------------------------------------------------------ published: errors

    error InvalidChannel();
    error WithdrawDelayOutOfRange();
    error ZeroDeposit();
    error InvalidCollector();
    error DepositOverflow();
    error DepositCollectionFailed();
    error EmptyBatch();
    error NotAuthorizedToClaim();
    error NotReceiverAuthorizer();
    error InvalidSignature();
    error ClaimExceedsCeiling();
    error ClaimExceedsBalance();
    error NothingToWithdraw();
    error WithdrawalAlreadyPending();
    error WithdrawAmountExceedsAvailable();
    error NotAuthorizedToFinalizeWithdraw();
    error WithdrawalNotPending();
    error WithdrawDelayNotElapsed();
    error NotAuthorizedToRefund();
    error ZeroRefund();
    error InvalidRefundNonce();

    // ------------------------------------------------------------------ additions: types

    /// @notice Rows of one (receiver, receiverAuthorizer, token, withdrawDelay), packed; see `claimPacked`.
    struct PackedGroup {
        address receiver;
        address receiverAuthorizer;
        address token;
        uint40 withdrawDelay;
        /// Merkle root over the receipts that these claims pay for, or zero.
        bytes32 receiptsRoot;
        /// Concatenated rows; layout in `claimPacked`.
        bytes rows;
        /// Empty when the sender is the receiver or receiverAuthorizer, else the receiverAuthorizer's signature of
        /// PackedClaim(receiver, receiverAuthorizer, token, withdrawDelay, receiptsRoot, rows).
        bytes authorization;
    }

    /// @notice Why a packed row moved nothing. Zero means it was claimed. Never depends on the gas left.
    enum RowStatus {
        Claimed,
        NothingNew,
        ExceedsCeiling,
        ExceedsBalance,
        InvalidSignature,
        /// payerAuthorizer is zero: such vouchers are checked through the payer's code, so they are claimed by `claim`.
        ContractSignatureUnsupported,
        /// The receiver's lifetime total in this token would pass uint128; only a hostile token gets there.
        ReceiverTotalOverflow
    }

    // ------------------------------------------------------------------ additions: events

    /// @notice One packed group was processed.
    /// @param claimAmount Sum claimed by the group, atomic units.
    /// @param results 65 bytes a row, in row order: status (1), channelId (32), claimAmount (16), totalClaimed after (16).
    event PackedClaimed(
        address indexed receiver,
        address indexed token,
        address indexed sender,
        address receiverAuthorizer,
        uint40 withdrawDelay,
        bytes32 receiptsRoot,
        uint128 claimAmount,
        bytes results
    );
    /// @notice `claimAndSettle` kept the claims but the token refused the transfer; `settle` may be tried again.
    event SettleFailed(address indexed receiver, address indexed token, address indexed sender, uint128 amount);
    /// @notice The payer took back a pending withdrawal.
    event WithdrawCancelled(bytes32 indexed channelId, uint128 amount);

    // ------------------------------------------------------------------ additions: errors

    /// @notice A packed group's rows end in the middle of a row or carry an unknown flag.
    /// @param group Index of the group. @param offset Byte offset of the bad row in `rows`.
    error MalformedPackedRow(uint256 group, uint256 offset);
    /// @notice The transaction carries too little gas to tell an honest failure from a starved call.
    error InsufficientGas();
    /// @notice Only the payer may cancel a withdrawal.
    error NotPayer(address caller, address payer);
    /// @notice The consent to a withdrawal is too old. Both times are Unix seconds.
    error WithdrawRequestExpired(uint256 deadline, uint256 timestamp);
    /// @notice The consent to a withdrawal was used.
    error WithdrawRequestUsed(bytes32 digest);

    // ------------------------------------------------------------------ published: functions

    /// @notice Adds `amount` to a channel, opening it on the first deposit. Anyone may call.
    /// @dev Refuses with InvalidChannel when payer, receiver, receiverAuthorizer or token is zero, WithdrawDelayOutOfRange,
    /// ZeroDeposit, InvalidCollector, DepositOverflow, and DepositCollectionFailed unless the contract's own balance grew by
    /// exactly `amount`.
    /// @param amount Atomic token units.
    /// @param collector Contract that moves the payer's tokens here. Addition: this contract's own address selects the
    /// built-in ERC-3009 path, one transfer instead of two; then `collectorData` is
    /// abi.encode(uint256 validAfter, uint256 validBefore, bytes32 salt, bytes signature) of a ReceiveWithAuthorization to
    /// this contract with nonce keccak256(abi.encode(channelId, salt)).
    /// @param collectorData The payer's authorisation, in the collector's encoding.
    function deposit(ChannelConfig calldata config, uint128 amount, address collector, bytes calldata collectorData)
        external;

    /// @notice Claims each row up to its cumulative `totalClaimed`. The sender must be the receiver or receiverAuthorizer
    /// of every row.
    /// @dev A row with nothing new is skipped; any other bad row reverts the whole batch. Refuses with EmptyBatch,
    /// NotAuthorizedToClaim, ClaimExceedsCeiling, ClaimExceedsBalance, InvalidSignature (and ECDSAInvalidSignature* when a
    /// payerAuthorizer's signature is malformed).
    function claim(VoucherClaim[] calldata voucherClaims) external;

    /// @notice As `claim`, by anyone who holds the receiverAuthorizer's signature of ClaimBatch.
    /// @dev Refuses with InvalidSignature unless row 0's receiverAuthorizer signed (ECDSA or ERC-1271 by code), and with
    /// NotReceiverAuthorizer when a row names another.
    function claimWithSignature(VoucherClaim[] calldata voucherClaims, bytes calldata authorizerSignature) external;

    /// @notice Pays out what was claimed for `receiver` in `token` and not yet settled. Anyone may call; a no-op at zero.
    function settle(address receiver, address token) external;

    /// @notice Announces a withdrawal of `amount` to the payer; only payer or payerAuthorizer (else InvalidChannel).
    /// @dev Refuses with NothingToWithdraw at zero, WithdrawalAlreadyPending, WithdrawAmountExceedsAvailable above
    /// balance - totalClaimed. Vouchers can still be claimed until the withdrawal is finalized.
    function initiateWithdraw(ChannelConfig calldata config, uint128 amount) external;

    /// @notice Pays the pending withdrawal, or what is left unclaimed if less, to the payer; only payer or payerAuthorizer.
    /// @dev Refuses with NotAuthorizedToFinalizeWithdraw, WithdrawalNotPending, WithdrawDelayNotElapsed.
    function finalizeWithdraw(ChannelConfig calldata config) external;

    /// @notice Returns up to `amount` of what is unclaimed to the payer; only receiver or receiverAuthorizer.
    /// @dev Refuses with NotAuthorizedToRefund, ZeroRefund. A pending withdrawal shrinks by what was refunded.
    function refund(ChannelConfig calldata config, uint128 amount) external;

    /// @notice As `refund`, by anyone who holds the receiverAuthorizer's signature of Refund with the current nonce.
    /// @dev Refuses with InvalidRefundNonce, InvalidSignature, ZeroRefund.
    function refundWithSignature(
        ChannelConfig calldata config,
        uint128 amount,
        uint256 nonce,
        bytes calldata receiverAuthorizerSignature
    ) external;

    // ------------------------------------------------------------------ published: views

    /// @notice Funds of a channel, atomic token units.
    function channels(bytes32 channelId) external view returns (uint128 balance, uint128 totalClaimed);

    /// @notice Lifetime totals of a receiver in a token, atomic token units.
    function receivers(address receiver, address token)
        external
        view
        returns (uint128 totalClaimed, uint128 totalSettled);

    /// @notice The announced withdrawal of a channel; zeros when none. `initiatedAt` is Unix seconds.
    function pendingWithdrawals(bytes32 channelId) external view returns (uint128 amount, uint40 initiatedAt);

    /// @notice The nonce that the next Refund signature must carry.
    function refundNonce(bytes32 channelId) external view returns (uint256);

    /// @notice The channel id: EIP-712 typed-data hash of the config, so it binds chain and contract.
    function getChannelId(ChannelConfig calldata config) external view returns (bytes32);

    /// @notice What a payer signs: up to `maxClaimableAmount` of the channel, cumulative.
    function getVoucherDigest(bytes32 channelId, uint128 maxClaimableAmount) external view returns (bytes32);

    /// @notice What a receiverAuthorizer signs for `refundWithSignature`.
    function getRefundDigest(bytes32 channelId, uint256 nonce, uint128 amount) external view returns (bytes32);

    /// @notice What a receiverAuthorizer signs for `claimWithSignature`.
    function getClaimBatchDigest(VoucherClaim[] calldata voucherClaims) external view returns (bytes32);

    /// @notice Shortest withdrawDelay, seconds.
    function MIN_WITHDRAW_DELAY() external view returns (uint40);

    /// @notice Longest withdrawDelay, seconds.
    function MAX_WITHDRAW_DELAY() external view returns (uint40);

    function CHANNEL_CONFIG_TYPEHASH() external view returns (bytes32);
    function VOUCHER_TYPEHASH() external view returns (bytes32);
    function REFUND_TYPEHASH() external view returns (bytes32);
    function CLAIM_ENTRY_TYPEHASH() external view returns (bytes32);
    function CLAIM_BATCH_TYPEHASH() external view returns (bytes32);

    // ------------------------------------------------------------------ additions: functions

    /// @notice Takes back a pending withdrawal; only the payer, never the payerAuthorizer (else NotPayer).
    /// @dev Refuses with WithdrawalNotPending.
    function cancelWithdraw(ChannelConfig calldata config) external;

    /// @notice As `initiateWithdraw`, by anyone who holds the payer's signature of WithdrawRequest (ECDSA or ERC-1271 by
    /// code), so that a payer without gas, or whoever revokes a mandate, can start a withdrawal.
    /// @dev Refuses with WithdrawRequestExpired, WithdrawRequestUsed, InvalidSignature, WithdrawalAlreadyPending, and
    /// NothingToWithdraw. Each consent works once, so a cancelled withdrawal cannot be started again by it.
    /// @param amount At most this much: what is unclaimed if less, so that a consent can be signed ahead of time.
    /// @param deadline Last second in which the consent counts.
    function initiateWithdrawWithSignature(
        ChannelConfig calldata config,
        uint128 amount,
        uint256 deadline,
        bytes calldata payerSignature
    ) external;

    /// @notice What a payer signs for `initiateWithdrawWithSignature`.
    function getWithdrawRequestDigest(bytes32 channelId, uint128 amount, uint256 deadline)
        external
        view
        returns (bytes32);

    /// @notice Whether that consent, by its digest, was used.
    function isWithdrawRequestUsed(bytes32 digest) external view returns (bool);

    function WITHDRAW_REQUEST_TYPEHASH() external view returns (bytes32);

    /// @notice Claims the rows and pays each (receiver, token) they name. The claims stand even when a token refuses the
    /// transfer (blacklisted receiver, paused token): SettleFailed, and the amount stays for `settle`.
    /// @dev Refuses as `claim` and `claimWithSignature`; with InsufficientGas when a transfer could not be given its fixed
    /// amount of gas, so that a refusal is always the token's own; and with SafeERC20FailedOperation when a transfer goes
    /// through but answers other than true, since then nobody can say whether the tokens moved.
    /// @param authorizerSignature Empty when the sender is receiver or receiverAuthorizer of every row (`claim`), else the
    /// signature of `claimWithSignature`.
    function claimAndSettle(VoucherClaim[] calldata voucherClaims, bytes calldata authorizerSignature) external;

    /// @notice Claims packed rows. A bad row is skipped with a RowStatus and changes nothing; the others stand.
    /// @dev Row layout, with no padding; flags says which optional fields are there:
    ///
    ///     flags            1   0x01 payerAuthorizer, 0x02 salt, 0x04 wide amounts, 0x08 totalClaimed
    ///     payer           20
    ///     payerAuthorizer 20   if 0x01, else it is the payer
    ///     salt            32   if 0x02, else it is zero
    ///     ceiling          8   16 if 0x04; the voucher's maxClaimableAmount
    ///     totalClaimed     8   if 0x08 (16 if also 0x04), else it is the ceiling
    ///     r, vs           64   EIP-2098 form of payerAuthorizer's voucher signature
    ///
    /// The checks of a row and their order are those of `claim`. Refuses the whole call with EmptyBatch (no group, or a
    /// group without rows), MalformedPackedRow, NotAuthorizedToClaim or InvalidSignature (a group's `authorization`), and
    /// InsufficientGas; why a row is skipped never depends on gas.
    function claimPacked(PackedGroup[] calldata groups) external;

    /// @notice What a receiverAuthorizer signs so that anyone may send a packed group; ignores `authorization`.
    function getPackedClaimDigest(PackedGroup calldata group) external view returns (bytes32);

    function PACKED_CLAIM_TYPEHASH() external view returns (bytes32);
}
