// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

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
