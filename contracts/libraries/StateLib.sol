// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ISessionChannels} from "../interfaces/ISessionChannels.sol";

/// @title StateLib
/// @notice Reads and writes the one-slot states with exactly one storage access and without memory.
/// @dev Both structs are two uint128, the first in the slot's low half.
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
}
