// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ISessionChannels} from "../interfaces/ISessionChannels.sol";

/// @notice A channel's pending withdrawal (all zero when none) and its refund nonce: every refund touches both.
struct WithdrawalState {
    uint128 amount;
    uint40 initiatedAt;
    uint88 refundNonce;
}

/// @title StateLib
/// @notice Reads and writes the one-slot states with exactly one storage access and without memory.
/// @dev A struct's first member lies in the slot's lowest bits. Amounts that come or go as uint256 fit uint128: loads give no
/// more, and callers store only what they have checked.
library StateLib {
    function load(ISessionChannels.ChannelState storage state)
        internal
        view
        returns (uint256 balance, uint256 totalClaimed)
    {
        uint256 word;
        assembly ("memory-safe") {
            word := sload(state.slot)
        }
        return (uint128(word), word >> 128);
    }

    function store(ISessionChannels.ChannelState storage state, uint256 balance, uint256 totalClaimed) internal {
        uint256 word = totalClaimed << 128 | balance;
        assembly ("memory-safe") {
            sstore(state.slot, word)
        }
    }

    function load(ISessionChannels.ReceiverState storage state)
        internal
        view
        returns (uint128 totalClaimed, uint128 totalSettled)
    {
        uint256 word;
        assembly ("memory-safe") {
            word := sload(state.slot)
        }
        return (uint128(word), uint128(word >> 128));
    }

    function store(ISessionChannels.ReceiverState storage state, uint128 totalClaimed, uint128 totalSettled) internal {
        uint256 word = uint256(totalSettled) << 128 | totalClaimed;
        assembly ("memory-safe") {
            sstore(state.slot, word)
        }
    }

    function load(WithdrawalState storage state)
        internal
        view
        returns (uint128 amount, uint40 initiatedAt, uint88 refundNonce)
    {
        uint256 word;
        assembly ("memory-safe") {
            word := sload(state.slot)
        }
        return (uint128(word), uint40(word >> 128), uint88(word >> 168));
    }

    function store(WithdrawalState storage state, uint128 amount, uint40 initiatedAt, uint88 refundNonce) internal {
        uint256 word = uint256(refundNonce) << 168 | uint256(initiatedAt) << 128 | amount;
        assembly ("memory-safe") {
            sstore(state.slot, word)
        }
    }
}
