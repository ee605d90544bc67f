// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MockToken} from "./MockToken.sol";

/// @title ReturnsFalseToken
/// @notice While refusing, `transfer` moves nothing and answers false instead of reverting.
contract ReturnsFalseToken is MockToken {
    bool public refusing;

    function setRefusing(bool refusing_) external {
        refusing = refusing_;
    }

    function transfer(address to, uint256 value) public override returns (bool) {
        return !refusing && super.transfer(to, value);
    }

    function transferFrom(address from, address to, uint256 value) public override returns (bool) {
        return !refusing && super.transferFrom(from, to, value);
    }
}
