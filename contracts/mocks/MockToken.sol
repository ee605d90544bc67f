// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title MockToken
/// @notice An honest 18-decimal ERC-20 that anyone may mint; base of the hostile ones.
contract MockToken is ERC20("Mock Token", "MOCK") {
    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }
}
