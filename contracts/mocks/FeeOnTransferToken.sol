// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MockToken} from "./MockToken.sol";

/// @title FeeOnTransferToken
/// @notice Burns 1% (100 bps) of every transfer, so less arrives than was sent.
contract FeeOnTransferToken is MockToken {
    uint256 public constant FEE_BPS = 100;

    function _update(address from, address to, uint256 value) internal override {
        if (from == address(0) || to == address(0)) return super._update(from, to, value);
        uint256 fee = value * FEE_BPS / 10_000;
        super._update(from, address(0), fee);
        super._update(from, to, value - fee);
    }
}
