// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IDepositCollector} from "../interfaces/IDepositCollector.sol";

/// @title DepositCollector
/// @notice What collectors share: each serves one channel contract, fixed at construction.
abstract contract DepositCollector is IDepositCollector {
    /// @notice The constructor was given the zero address.
    error InvalidX402BatchSettlementAddress();
    /// @notice Only the channel contract may call `collect`.
    error OnlyX402BatchSettlement();

    /// @notice The channel contract whose deposits this collector serves (the name is the published one).
    address public immutable x402BatchSettlement;

    modifier onlyX402BatchSettlement() {
        require(msg.sender == x402BatchSettlement, OnlyX402BatchSettlement());
        _;
    }

    constructor(address channelContract) {
        require(channelContract != address(0), InvalidX402BatchSettlementAddress());
        x402BatchSettlement = channelContract;
    }
}
