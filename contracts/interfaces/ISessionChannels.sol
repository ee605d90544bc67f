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
        ContractSignatureUnsupported
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
}
