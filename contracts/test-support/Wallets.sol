// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice ERC-1271 wallet of one key that can be told to lie, to revert, to burn gas, or to answer by the gas it has.
contract ScriptedWallet {
    enum Mode {
        Honest,
        Refuses,
        Reverts,
        BurnsGas,
        NeedsGas,
        AnswersShort
    }

    bytes4 private constant VALID = 0x1626ba7e;
    address public immutable owner;
    Mode public mode;
    uint256 public threshold;

    constructor(address owner_) {
        owner = owner_;
    }

    function setMode(Mode mode_, uint256 threshold_) external {
        mode = mode_;
        threshold = threshold_;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        if (mode == Mode.Refuses) return 0xffffffff;
        if (mode == Mode.Reverts) revert("wallet: no");
        if (mode == Mode.BurnsGas) {
            assembly {
                invalid()
            }
        }
        if (mode == Mode.NeedsGas && gasleft() < threshold) return 0xffffffff;
        if (mode == Mode.AnswersShort) {
            assembly {
                mstore(0, shl(224, 0x1626ba7e))
                return(0, 4)
            }
        }
        if (signature.length != 65) return 0xffffffff;
        return ecrecover(digest, uint8(signature[64]), bytes32(signature[:32]), bytes32(signature[32:64])) == owner
            ? VALID
            : bytes4(0xffffffff);
    }

    /// @notice Lets a test make the wallet call anything.
    function run(address target, bytes calldata data) external returns (bytes memory) {
        (bool ok, bytes memory result) = target.call(data);
        if (!ok) {
            assembly {
                revert(add(result, 32), mload(result))
            }
        }
        return result;
    }
}
