// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MockToken} from "./MockToken.sol";

/// @title ReentrantToken
/// @notice Makes one prepared call in the middle of the next transfer, and remembers how that went.
contract ReentrantToken is MockToken {
    address public target;
    bytes public payload;

    /// @notice Whether the prepared call was made, whether it succeeded, and what it returned.
    bool public fired;
    bool public succeeded;
    bytes public answer;

    /// @notice Prepares the call; a zero target disarms.
    function arm(address target_, bytes calldata payload_) external {
        target = target_;
        payload = payload_;
        fired = false;
    }

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (target == address(0) || fired) return;
        fired = true;
        (succeeded, answer) = target.call(payload);
    }
}
