// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IMandateRegistry} from "../interfaces/IMandateRegistry.sol";
import {MandateTypes} from "./MandateTypes.sol";

/// @notice A mandate in memory: where its fifteen words lie, in the order of the struct, each checked to fit its type.
/// @dev A `Mandate memory` would be the same words, but Solidity writes zeros to every new one, which costs as much as
/// hashing it, once a level.
type MandateView is uint256;

using MandateViewLib for MandateView global;

/// @title MandateViewLib
/// @notice Copies a mandate from calldata, hashes it where it lies, and reads its members. If a member of the struct is
/// moved, the offsets below move with it.
library MandateViewLib {
    /// @return mandate The copy.
    /// @return structHash Its EIP-712 struct hash.
    /// @dev As Solidity's decoder does, refuses bits above a member's type: they would enter the id.
    function read(IMandateRegistry.Mandate calldata source)
        internal
        pure
        returns (MandateView mandate, bytes32 structHash)
    {
        bytes32 typehash = MandateTypes.MANDATE;
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(0x40, add(free, 0x200))
            mstore(free, typehash)
            mandate := add(free, 0x20)
            calldatacopy(mandate, source, 0x1e0)
            // principal, delegate, token
            let addresses := or(or(mload(mandate), mload(add(mandate, 0x20))), mload(add(mandate, 0x40)))
            // limit, periodLimit, paymentLimit
            let amounts := or(or(mload(add(mandate, 0x60)), mload(add(mandate, 0x80))), mload(add(mandate, 0xa0)))
            // period, validAfter, validUntil
            let times := or(or(mload(add(mandate, 0xc0)), mload(add(mandate, 0xe0))), mload(add(mandate, 0x100)))
            let epoch_ := mload(add(mandate, 0x120))
            if or(or(shr(160, addresses), shr(128, amounts)), or(shr(40, times), shr(32, epoch_))) { revert(0, 0) }
            structHash := keccak256(free, 0x200)
        }
    }

    /// @notice Whether no term contradicts another or makes the mandate useless.
    function isSound(MandateView mandate) internal pure returns (bool sound) {
        assembly ("memory-safe") {
            // principal, delegate, token, limit and paymentLimit must not be zero
            let zeros := or(iszero(mload(mandate)), iszero(mload(add(mandate, 0x20))))
            zeros := or(zeros, or(iszero(mload(add(mandate, 0x40))), iszero(mload(add(mandate, 0x60)))))
            zeros := or(zeros, iszero(mload(add(mandate, 0xa0))))
            // a limit per period needs periods, and periods a limit; validAfter <= validUntil
            let odd := xor(iszero(mload(add(mandate, 0x80))), iszero(mload(add(mandate, 0xc0))))
            let never := gt(mload(add(mandate, 0xe0)), mload(add(mandate, 0x100)))
            sound := iszero(or(zeros, or(odd, never)))
        }
    }

    /// @notice Whether every term that can be compared allows no more than `parent` does.
    /// @dev Payees and periods have no order that could be compared: every payment is held against the parent's.
    function isWithin(MandateView mandate, MandateView parent_) internal pure returns (bool) {
        return mandate.principal() == parent_.principal() && mandate.token() == parent_.token()
            && mandate.epoch() == parent_.epoch() && mandate.limit() <= parent_.limit()
            && mandate.paymentLimit() <= parent_.paymentLimit() && mandate.validAfter() >= parent_.validAfter()
            && mandate.validUntil() <= parent_.validUntil()
            && (parent_.capability() == 0 || mandate.capability() == parent_.capability());
    }

    /// @notice Emits MandateApproved.
    function emitApproved(MandateView mandate, bytes32 mandateId) internal {
        bytes32 topic = IMandateRegistry.MandateApproved.selector;
        assembly ("memory-safe") {
            log4(mandate, 0x1e0, topic, mandateId, mload(mandate), mload(add(mandate, 0x20)))
        }
    }

    // ------------------------------------------------------------------ members

    function principal(MandateView mandate) internal pure returns (address value) {
        assembly ("memory-safe") {
            value := mload(mandate)
        }
    }

    function delegate(MandateView mandate) internal pure returns (address value) {
        assembly ("memory-safe") {
            value := mload(add(mandate, 0x20))
        }
    }

    function token(MandateView mandate) internal pure returns (address value) {
        assembly ("memory-safe") {
            value := mload(add(mandate, 0x40))
        }
    }

    function limit(MandateView mandate) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := mload(add(mandate, 0x60))
        }
    }

    function periodLimit(MandateView mandate) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := mload(add(mandate, 0x80))
        }
    }

    function paymentLimit(MandateView mandate) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := mload(add(mandate, 0xa0))
        }
    }

    function period(MandateView mandate) internal pure returns (uint256 value) {
        assembly ("memory-safe") {
            value := mload(add(mandate, 0xc0))
        }
    }

    function validAfter(MandateView mandate) internal pure returns (uint40 value) {
        assembly ("memory-safe") {
            value := mload(add(mandate, 0xe0))
        }
    }

    function validUntil(MandateView mandate) internal pure returns (uint40 value) {
        assembly ("memory-safe") {
            value := mload(add(mandate, 0x100))
        }
    }

    function epoch(MandateView mandate) internal pure returns (uint32 value) {
        assembly ("memory-safe") {
            value := mload(add(mandate, 0x120))
        }
    }

    function payeesRoot(MandateView mandate) internal pure returns (bytes32 value) {
        assembly ("memory-safe") {
            value := mload(add(mandate, 0x140))
        }
    }

    function capability(MandateView mandate) internal pure returns (bytes32 value) {
        assembly ("memory-safe") {
            value := mload(add(mandate, 0x160))
        }
    }

    function parent(MandateView mandate) internal pure returns (bytes32 value) {
        assembly ("memory-safe") {
            value := mload(add(mandate, 0x180))
        }
    }
}
