// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20, SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {IDepositCollector} from "../interfaces/IDepositCollector.sol";

/// @notice Pulls from an allowance given to it, for whoever asks: the simplest collector, for tests only.
contract PullCollector is IDepositCollector {
    using SafeERC20 for IERC20;

    function collect(address payer, address token, uint256 amount, bytes32, bytes calldata) external {
        IERC20(token).safeTransferFrom(payer, msg.sender, amount);
    }
}

/// @notice A collector that moves another amount than asked, or calls back into the channel contract.
contract CrookedCollector is IDepositCollector {
    using SafeERC20 for IERC20;

    int256 public difference;
    address public hookTarget;
    bytes public hookData;
    bool public hookOk;
    bytes public hookResult;

    function setDifference(int256 difference_) external {
        difference = difference_;
    }

    function setHook(address target, bytes calldata data) external {
        (hookTarget, hookData) = (target, data);
    }

    function collect(address payer, address token, uint256 amount, bytes32, bytes calldata) external {
        IERC20(token).safeTransferFrom(payer, msg.sender, uint256(int256(amount) + difference));
        if (hookTarget != address(0)) (hookOk, hookResult) = hookTarget.call(hookData);
    }
}
