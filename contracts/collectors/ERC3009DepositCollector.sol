// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {IDepositCollector} from "../interfaces/IDepositCollector.sol";
import {IERC3009} from "../interfaces/IERC3009.sol";
import {DepositCollector} from "./DepositCollector.sol";

/// @title ERC3009DepositCollector
/// @notice The published ERC-3009 collector: pulls a payer's tokens by a ReceiveWithAuthorization signature to this
/// contract and passes them on to the channel contract.
contract ERC3009DepositCollector is DepositCollector {
    using SafeERC20 for IERC20;

    constructor(address channelContract) DepositCollector(channelContract) {}

    /// @inheritdoc IDepositCollector
    /// @dev `data` is abi.encode(uint256 validAfter, uint256 validBefore, bytes32 salt, bytes signature). The nonce binds
    /// the signature to the channel, so nobody can spend it on another.
    function collect(address payer, address token, uint256 amount, bytes32 channelId, bytes calldata data)
        external
        onlyX402BatchSettlement
    {
        (uint256 validAfter, uint256 validBefore, bytes32 salt, bytes memory signature) =
            abi.decode(data, (uint256, uint256, bytes32, bytes));
        bytes32 nonce = keccak256(abi.encode(channelId, salt));
        IERC3009(token).receiveWithAuthorization(
            payer, address(this), amount, validAfter, validBefore, nonce, signature
        );
        IERC20(token).safeTransfer(msg.sender, amount);
    }
}
