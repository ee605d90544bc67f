// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IBazaarRegistry} from "../interfaces/IBazaarRegistry.sol";

/// @notice Sums over ratings, as two words:
///
///     scores   lastRatedAt 40 | sum 56 | five bucket counts of 32, the lowest scores lowest
///     amounts  weightedSum 136 | weight 120
///
/// 120 bits hold 1e36 units: for a token of 18 decimals 1e18 tokens.
struct RatingWords {
    uint256 scores;
    uint256 amounts;
}

/// @title RatingLib
/// @notice Adds a rating to the sums and reads them.
library RatingLib {
    uint256 internal constant MAX_SCORE = 100;
    uint256 private constant BUCKETS = 5;
    uint256 private constant SUM_AT = 160;
    uint256 private constant TIME_AT = 216;
    uint256 private constant WEIGHTED_AT = 120;

    /// @return fits False when a sum would not; then nothing was written.
    function add(RatingWords storage words, uint256 score, uint256 amount) internal returns (bool fits) {
        uint256 scores = words.scores;
        uint256 amounts = words.amounts;
        // No sum passes 2^137, so nothing here overflows.
        unchecked {
            uint256 shift = bucketOf(score) * 32;
            uint256 weight = uint120(amounts) + amount;
            // score <= 100, so a weight that fits makes the weighted sum fit, and a bucket the sum of scores.
            if (uint32(scores >> shift) == type(uint32).max || weight > type(uint120).max) return false;
            words.amounts = ((amounts >> WEIGHTED_AT) + score * amount) << WEIGHTED_AT | weight;
            scores = uint216(scores) + (1 << shift) + (score << SUM_AT);
            words.scores = block.timestamp << TIME_AT | scores;
        }
        return true;
    }

    /// @dev 100 is in the highest with 80 to 99.
    function bucketOf(uint256 score) internal pure returns (uint256) {
        return score == MAX_SCORE ? BUCKETS - 1 : score / 20;
    }

    function read(RatingWords storage words) internal view returns (IBazaarRegistry.RatingTotals memory totals) {
        (uint256 scores, uint256 amounts) = (words.scores, words.amounts);
        for (uint256 i; i < BUCKETS; ++i) {
            totals.buckets[i] = uint32(scores >> i * 32);
            totals.count += totals.buckets[i];
        }
        totals.sum = uint56(scores >> SUM_AT);
        totals.lastRatedAt = uint40(scores >> TIME_AT);
        totals.weight = uint120(amounts);
        totals.weightedSum = amounts >> WEIGHTED_AT;
    }
}
