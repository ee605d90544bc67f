// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MockToken} from "./MockToken.sol";

/// @title GasBurningToken
/// @notice While burning, `transfer` eats all gas it is given, or answers with more data than anyone wants to copy.
contract GasBurningToken is MockToken {
    enum Mode {
        Honest,
        BurnAll,
        ReturnBomb
    }

    Mode public mode;

    function setMode(Mode mode_) external {
        mode = mode_;
    }

    function transfer(address to, uint256 value) public override returns (bool) {
        if (mode == Mode.BurnAll) _burnAll();
        if (mode == Mode.ReturnBomb) _revertWith(100_000);
        return super.transfer(to, value);
    }

    /// @dev `invalid` takes everything that the call was given.
    function _burnAll() private pure {
        assembly ("memory-safe") {
            invalid()
        }
    }

    function _revertWith(uint256 length) private pure {
        assembly {
            revert(0, length)
        }
    }
}
