// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ISessionChannels} from "../interfaces/ISessionChannels.sol";

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

    bytes32 internal constant WITHDRAW_REQUEST =
        keccak256("WithdrawRequest(bytes32 channelId,uint128 amount,uint256 deadline)");

    /// @notice Copies `config`, seven words, to memory at `to`.
    /// @dev As Solidity's decoder does, refuses bits above an address or a uint40: they would enter the channel id.
    function copyConfig(ISessionChannels.ChannelConfig calldata config, uint256 to) internal pure {
        assembly ("memory-safe") {
            calldatacopy(to, config, 0xe0)
            // payer, payerAuthorizer, receiver, receiverAuthorizer, token
            let addresses := or(mload(to), mload(add(to, 0x20)))
            addresses := or(addresses, or(mload(add(to, 0x40)), mload(add(to, 0x60))))
            addresses := or(addresses, mload(add(to, 0x80)))
            let withdrawDelay := mload(add(to, 0xa0))
            if or(shr(160, addresses), shr(40, withdrawDelay)) { revert(0, 0) }
        }
    }

    /// @notice EIP-712 struct hash of `config`, made in memory beyond the free pointer.
    function hashConfig(ISessionChannels.ChannelConfig calldata config) internal pure returns (bytes32 structHash) {
        bytes32 typehash = CHANNEL_CONFIG;
        uint256 free;
        assembly ("memory-safe") {
            free := mload(0x40)
            mstore(free, typehash)
        }
        copyConfig(config, free + 0x20);
        assembly ("memory-safe") {
            structHash := keccak256(free, 0x100)
        }
    }
}
