// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ISessionChannels} from "../interfaces/ISessionChannels.sol";

/// @notice The `results` of a PackedClaimed event while they are written.
struct ClaimResults {
    bytes data; // sized for the most rows there can be, cut to size at the end
    uint256 length; // bytes written
}

using ClaimResultsLib for ClaimResults global;

// Bytes of one result: status 1, channelId 32, claimAmount 16, totalClaimed 16.
uint256 constant RESULT_BYTES = 65;

/// @title ClaimResultsLib
/// @notice Writes 65-byte results one after another into memory that was allocated once.
library ClaimResultsLib {
    function create(uint256 maxRows) internal pure returns (ClaimResults memory results) {
        results.data = new bytes(maxRows * RESULT_BYTES);
    }

    /// @dev The caller appends at most `maxRows` results. The last store ends exactly at the result's end.
    function append(
        ClaimResults memory results,
        ISessionChannels.RowStatus status,
        bytes32 channelId,
        uint128 claimAmount,
        uint128 totalClaimed
    ) internal pure {
        uint256 length = results.length;
        bytes memory data = results.data;
        assembly ("memory-safe") {
            let at := add(add(data, 0x20), length)
            mstore8(at, status)
            mstore(add(at, 1), channelId)
            mstore(add(at, 33), or(shl(128, claimAmount), totalClaimed))
        }
        results.length = length + RESULT_BYTES;
    }

    /// @notice The results written so far; nothing can be appended after.
    function finish(ClaimResults memory results) internal pure returns (bytes memory data) {
        data = results.data;
        uint256 length = results.length;
        assert(length <= data.length);
        assembly ("memory-safe") {
            mstore(data, length)
        }
    }
}
