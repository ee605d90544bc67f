// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IBazaarRegistry} from "../interfaces/IBazaarRegistry.sol";

/// @notice What the registry keeps of a service, as one word:
///
///     terms tag 200 | version 24 | revision 24 | unused 3 | approved 1 | visibility 1 | status 3
///
/// from the highest bits down. The tag is the first 200 bits of the terms' hash: to pass other terms for it takes 2^200 tries,
/// and even an owner who looks for two terms of one tag needs 2^100.
type ServiceWord is uint256;

using ServiceWordLib for ServiceWord global;

/// @title ServiceWordLib
/// @notice Packs and unpacks ServiceWord; storage is read once and written once by whoever holds the word.
library ServiceWordLib {
    uint256 private constant STATUS = 7;
    uint256 private constant VISIBILITY_AT = 3;
    uint256 private constant APPROVED = 1 << 4;
    uint256 private constant REVISION_AT = 8;
    uint256 private constant VERSION_AT = 32;
    uint256 private constant TAG_AT = 56;

    function listed(bytes32 termsHash, IBazaarRegistry.Visibility visibility, IBazaarRegistry.Status status_)
        internal
        pure
        returns (ServiceWord)
    {
        return _pack(termsHash, 1, 1, visibility, status_);
    }

    /// @notice The word with new terms, which nobody has approved.
    function updated(
        ServiceWord word,
        bytes32 termsHash,
        IBazaarRegistry.Visibility visibility,
        IBazaarRegistry.Status status_
    ) internal pure returns (ServiceWord) {
        // Checked: an owner who makes sixteen million changes comes to an end.
        return _pack(termsHash, word.version() + 1, word.revision() + 1, visibility, status_);
    }

    function _pack(
        bytes32 termsHash,
        uint24 version_,
        uint24 revision_,
        IBazaarRegistry.Visibility visibility,
        IBazaarRegistry.Status status_
    ) private pure returns (ServiceWord) {
        uint256 tag = uint256(termsHash) >> TAG_AT << TAG_AT;
        return ServiceWord.wrap(
            tag | uint256(version_) << VERSION_AT | uint256(revision_) << REVISION_AT
                | uint256(visibility) << VISIBILITY_AT | uint256(status_)
        );
    }

    function withStatus(ServiceWord word, IBazaarRegistry.Status status_) internal pure returns (ServiceWord) {
        return ServiceWord.wrap(ServiceWord.unwrap(word) & ~STATUS | uint256(status_));
    }

    function withApproval(ServiceWord word, bool approved) internal pure returns (ServiceWord) {
        uint256 rest = ServiceWord.unwrap(word) & ~APPROVED;
        return ServiceWord.wrap(approved ? rest | APPROVED : rest);
    }

    /// @notice The word after one more change by the owner.
    function revised(ServiceWord word) internal pure returns (ServiceWord) {
        uint256 next = uint256(word.revision() + 1);
        uint256 mask = uint256(type(uint24).max) << REVISION_AT;
        return ServiceWord.wrap(ServiceWord.unwrap(word) & ~mask | next << REVISION_AT);
    }

    /// @notice Whether its owner may move it to that status; with unapproved terms a curated service is not listed all the same.
    function mayMoveTo(ServiceWord word, IBazaarRegistry.Status to, bool curated) internal pure returns (bool) {
        IBazaarRegistry.Status from = word.status();
        if (to == IBazaarRegistry.Status.Suspended) return from == IBazaarRegistry.Status.Listed;
        if (to == IBazaarRegistry.Status.Delisted) return from != IBazaarRegistry.Status.Delisted;
        bool idle = from != IBazaarRegistry.Status.PendingReview && from != IBazaarRegistry.Status.Listed;
        return idle
            && (to == IBazaarRegistry.Status.Listed || (to == IBazaarRegistry.Status.PendingReview && curated));
    }

    function exists(ServiceWord word) internal pure returns (bool) {
        return ServiceWord.unwrap(word) != 0;
    }

    function status(ServiceWord word) internal pure returns (IBazaarRegistry.Status) {
        return IBazaarRegistry.Status(ServiceWord.unwrap(word) & STATUS);
    }

    function isApproved(ServiceWord word) internal pure returns (bool) {
        return ServiceWord.unwrap(word) & APPROVED != 0;
    }

    function version(ServiceWord word) internal pure returns (uint24) {
        return uint24(ServiceWord.unwrap(word) >> VERSION_AT);
    }

    function revision(ServiceWord word) internal pure returns (uint24) {
        return uint24(ServiceWord.unwrap(word) >> REVISION_AT);
    }

    function hasTerms(ServiceWord word, bytes32 termsHash) internal pure returns (bool) {
        return word.exists() && ServiceWord.unwrap(word) >> TAG_AT == uint256(termsHash) >> TAG_AT;
    }

    function unpack(ServiceWord word) internal pure returns (IBazaarRegistry.ServiceState memory state) {
        state.status = word.status();
        state.visibility = IBazaarRegistry.Visibility(ServiceWord.unwrap(word) >> VISIBILITY_AT & 1);
        state.approved = word.isApproved();
        state.version = word.version();
        state.revision = word.revision();
        state.termsTag = bytes25(bytes32(ServiceWord.unwrap(word)));
    }
}
