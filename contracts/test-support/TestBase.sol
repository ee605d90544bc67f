// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Vm} from "./Vm.sol";

/// @notice Cheatcodes and the few helpers every Solidity test needs.
abstract contract TestBase {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// @notice Folds a fuzzed value into [low, high]; the edges come up more often than chance would have it.
    function bound(uint256 value, uint256 low, uint256 high) internal pure returns (uint256) {
        assert(low <= high);
        if (value >= low && value <= high) return value;
        uint256 span = high - low + 1;
        if (span == 0) return value;
        if (value % 13 == 0) return low;
        if (value % 13 == 1) return high;
        return low + (value % span);
    }

    /// @notice Deploys an artifact compiled on its own, byte for byte what a deployment would send.
    function deploy(string memory artifact, bytes memory constructorArgs) internal returns (address deployed) {
        bytes memory code = bytes.concat(vm.getCode(artifact), constructorArgs);
        assembly {
            deployed := create(0, add(code, 32), mload(code))
        }
        require(deployed != address(0), artifact);
    }

    function errorOf(bytes memory result) internal pure returns (bytes4 selector) {
        if (result.length < 4) return 0;
        assembly {
            selector := mload(add(result, 32))
        }
    }

    function random(uint256 seed, string memory what) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, what)));
    }

    function random(uint256 seed, uint256 what) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, what)));
    }
}
