// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IMandateRegistry} from "../interfaces/IMandateRegistry.sol";

/// @notice What the registry keeps of a mandate, as one word:
///
///     spent 104 | periodSpent 104 | periodIndex 40 | depth 4 | unused 2 | revoked 1 | approved 1
///
/// from the highest bits down. 104 bits hold 2e31 units: for USDC 2e25 dollars, for a token of 18 decimals 2e13 tokens.
type MandateWord is uint256;

using {
    MandateStateLib.isApproved,
    MandateStateLib.isRevoked,
    MandateStateLib.depth,
    MandateStateLib.spent,
    MandateStateLib.periodIndex,
    MandateStateLib.periodSpent,
    MandateStateLib.revoked,
    MandateStateLib.charged,
    MandateStateLib.unpack
} for MandateWord global;

/// @title MandateStateLib
/// @notice Packs and unpacks MandateWord; storage is read once and written once by whoever holds the word.
library MandateStateLib {
    uint256 internal constant MAX_SPENT = type(uint104).max;

    uint256 private constant APPROVED = 1;
    uint256 private constant REVOKED = 2;
    uint256 private constant DEPTH_AT = 4;
    uint256 private constant PERIOD_INDEX_AT = 8;
    uint256 private constant PERIOD_SPENT_AT = 48;
    uint256 private constant SPENT_AT = 152;
    uint256 private constant FLAGS = 0xff;

    function isApproved(MandateWord word) internal pure returns (bool) {
        return MandateWord.unwrap(word) & APPROVED != 0;
    }

    function isRevoked(MandateWord word) internal pure returns (bool) {
        return MandateWord.unwrap(word) & REVOKED != 0;
    }

    function depth(MandateWord word) internal pure returns (uint256) {
        return (MandateWord.unwrap(word) >> DEPTH_AT) & 0xf;
    }

    function spent(MandateWord word) internal pure returns (uint256) {
        return MandateWord.unwrap(word) >> SPENT_AT;
    }

    function periodIndex(MandateWord word) internal pure returns (uint256) {
        return uint40(MandateWord.unwrap(word) >> PERIOD_INDEX_AT);
    }

    /// @notice What was spent in period `index`: periods before the last charged one have no budget left to ask for.
    function periodSpent(MandateWord word, uint256 index) internal pure returns (uint256) {
        return word.periodIndex() == index ? uint104(MandateWord.unwrap(word) >> PERIOD_SPENT_AT) : 0;
    }

    /// @notice The word of a mandate just approved; it was never charged.
    function approved(uint256 depth_) internal pure returns (MandateWord) {
        return MandateWord.wrap(depth_ << DEPTH_AT | APPROVED);
    }

    function revoked(MandateWord word) internal pure returns (MandateWord) {
        return MandateWord.wrap(MandateWord.unwrap(word) | REVOKED);
    }

    /// @notice The word with new amounts; both must be at most MAX_SPENT, and `index` a uint40.
    function charged(MandateWord word, uint256 spent_, uint256 index, uint256 periodSpent_)
        internal
        pure
        returns (MandateWord)
    {
        uint256 flags = MandateWord.unwrap(word) & FLAGS;
        return MandateWord.wrap(
            spent_ << SPENT_AT | periodSpent_ << PERIOD_SPENT_AT | index << PERIOD_INDEX_AT | flags
        );
    }

    function unpack(MandateWord word) internal pure returns (IMandateRegistry.MandateState memory state) {
        state.spent = uint128(word.spent());
        state.periodIndex = uint40(word.periodIndex());
        state.periodSpent = uint128(word.periodSpent(state.periodIndex));
        state.depth = uint8(word.depth());
        state.approved = word.isApproved();
        state.revoked = word.isRevoked();
    }
}
