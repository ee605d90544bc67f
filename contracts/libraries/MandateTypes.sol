// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IMandateRegistry} from "../interfaces/IMandateRegistry.sol";
import {ISessionChannels} from "../interfaces/ISessionChannels.sol";
import {ChannelTypes} from "./ChannelTypes.sol";

/// @title MandateTypes
/// @notice EIP-712 types of MandateRegistry. The same types, for signers: sdk/src/mandate.ts and mandate-messages.ts.
library MandateTypes {
    bytes32 internal constant MANDATE = keccak256(
        "Mandate(address principal,address delegate,address token,uint128 limit,uint128 periodLimit,uint128 paymentLimit,uint40 period,uint40 validAfter,uint40 validUntil,uint32 epoch,bytes32 payeesRoot,bytes32 capability,bytes32 parent,bytes32 terms,bytes32 salt)"
    );

    bytes32 internal constant SPEND =
        keccak256("MandateSpend(bytes32 mandateId,address payee,uint128 amount,uint256 nonce,uint256 deadline)");

    bytes32 internal constant DEPOSIT =
        keccak256("MandateDeposit(bytes32 mandateId,bytes32 channelId,uint128 amount,uint256 nonce,uint256 deadline)");

    bytes32 internal constant REVOCATION = keccak256("MandateRevocation(bytes32 mandateId)");

    bytes32 private constant DOMAIN =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant CHANNELS_NAME = keccak256("x402 Batch Settlement");
    bytes32 private constant CHANNELS_VERSION = keccak256("1");

    /// @notice EIP-712 struct hash of `mandate`, made in memory beyond the free pointer.
    /// @dev As Solidity's decoder does, refuses bits above a member's type: they would enter the id.
    function hashMandate(IMandateRegistry.Mandate calldata mandate) internal pure returns (bytes32 structHash) {
        bytes32 typehash = MANDATE;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, typehash)
            calldatacopy(add(free, 0x20), mandate, 0x1e0)
            // principal, delegate, token
            let addresses := or(or(mload(add(free, 0x20)), mload(add(free, 0x40))), mload(add(free, 0x60)))
            // limit, periodLimit, paymentLimit
            let amounts := or(or(mload(add(free, 0x80)), mload(add(free, 0xa0))), mload(add(free, 0xc0)))
            // period, validAfter, validUntil
            let times := or(or(mload(add(free, 0xe0)), mload(add(free, 0x100))), mload(add(free, 0x120)))
            let epoch := mload(add(free, 0x140))
            if or(or(shr(160, addresses), shr(128, amounts)), or(shr(40, times), shr(32, epoch))) { revert(0, 0) }
            structHash := keccak256(free, 0x200)
        }
    }

    /// @notice The id of a channel at the channel contract `channels`: EIP-712 in that contract's own domain. Computed here,
    /// so that nothing but the published domain and type is relied on.
    function channelIdAt(address channels, ISessionChannels.ChannelConfig calldata config)
        internal
        view
        returns (bytes32)
    {
        bytes32 domain = keccak256(abi.encode(DOMAIN, CHANNELS_NAME, CHANNELS_VERSION, block.chainid, channels));
        return keccak256(abi.encodePacked(hex"1901", domain, ChannelTypes.hashConfig(config)));
    }
}
