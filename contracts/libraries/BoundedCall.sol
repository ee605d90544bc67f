// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IMandateRegistry} from "../interfaces/IMandateRegistry.sol";

/// @title BoundedCall
/// @notice A call whose failure is reported instead of passed on, and whose outcome never depends on how much gas the
/// sender of the transaction left.
library BoundedCall {
    /// @dev Most of a failed call's answer that is kept: a bomb of return data must not cost the caller its gas.
    uint256 internal constant MAX_REASON = 256;

    /// @dev A call may pass on at most 63/64 of what is left (EIP-150); the rest covers the cold account and the copying.
    uint256 private constant OVERHEAD = 12_000;

    /// @notice Calls with exactly `gasLimit`, or reverts with InsufficientGas.
    function tryCall(address target, uint256 gasLimit, bytes memory data)
        internal
        returns (bool success, bytes memory reason)
    {
        require(gasleft() >= gasLimit + gasLimit / 63 + OVERHEAD, IMandateRegistry.InsufficientGas());
        assembly ("memory-safe") {
            success := call(gasLimit, target, 0, add(data, 0x20), mload(data), 0x00, 0x00)
        }
        if (!success) reason = _reason(MAX_REASON);
    }

    /// @notice Calls with all gas there is.
    function tryCall(address target, bytes memory data) internal returns (bool success, bytes memory reason) {
        assembly ("memory-safe") {
            success := call(gas(), target, 0, add(data, 0x20), mload(data), 0x00, 0x00)
        }
        if (!success) reason = _reason(type(uint256).max);
    }

    function _reason(uint256 most) private pure returns (bytes memory reason) {
        assembly ("memory-safe") {
            let length := returndatasize()
            if gt(length, most) { length := most }
            reason := mload(0x40)
            mstore(reason, length)
            returndatacopy(add(reason, 0x20), 0x00, length)
            mstore(0x40, and(add(add(reason, 0x3f), length), not(0x1f)))
        }
    }
}
