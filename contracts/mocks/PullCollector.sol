// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IDepositCollector} from "../interfaces/IDepositCollector.sol";

/// @title PullCollector
/// @notice Pulls by allowance and asks for no proof, so tests can deposit any token; or moves less or more than asked.
contract PullCollector is IDepositCollector {
    using SafeERC20 for IERC20;

    /// @notice Added to every amount; negative for a shortfall.
    int256 public skew;

    function setSkew(int256 skew_) external {
        skew = skew_;
    }

    /// @inheritdoc IDepositCollector
    function collect(address payer, address token, uint256 amount, bytes32, bytes calldata) external {
        IERC20(token).safeTransferFrom(payer, msg.sender, uint256(int256(amount) + skew));
    }
}
