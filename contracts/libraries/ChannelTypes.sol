// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title ChannelTypes
/// @notice EIP-712 type hashes of SessionChannels. The same types, for signers: sdk/src/typed-data.ts.
library ChannelTypes {
    bytes32 internal constant CHANNEL_CONFIG = keccak256(
        "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"
    );

    bytes32 internal constant VOUCHER = keccak256("Voucher(bytes32 channelId,uint128 maxClaimableAmount)");

    bytes32 internal constant REFUND = keccak256("Refund(bytes32 channelId,uint256 nonce,uint128 amount)");

    bytes32 internal constant CLAIM_ENTRY =
        keccak256("ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)");

    bytes32 internal constant CLAIM_BATCH = keccak256(
        "ClaimBatch(ClaimEntry[] claims)ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)"
    );

    bytes32 internal constant PACKED_CLAIM = keccak256(
        "PackedClaim(address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 receiptsRoot,bytes rows)"
    );
}
