// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title Median
/// @notice The middle of some votes, the mean of the two middle ones when their number is even, rounded down: fewer than half of
/// them cannot move it past what the others said.
library Median {
    /// @dev Sorts `values` in place; there are a few dozen at most.
    function medianOf(uint16[] memory values) internal pure returns (uint16) {
        uint256 count = values.length;
        for (uint256 i = 1; i < count; ++i) {
            uint16 value = values[i];
            uint256 j = i;
            for (; j != 0 && values[j - 1] > value; --j) {
                values[j] = values[j - 1];
            }
            values[j] = value;
        }
        uint256 upper = values[count / 2];
        if (count % 2 == 1) return uint16(upper);
        return uint16((upper + values[count / 2 - 1]) / 2);
    }
}
