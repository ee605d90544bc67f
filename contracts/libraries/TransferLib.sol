// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {ISessionChannels} from "../interfaces/ISessionChannels.sol";

/// @title TransferLib
/// @notice An ERC-20 transfer that reports failure instead of reverting, and whose outcome never depends on how much gas
/// the sender of the transaction left.
library TransferLib {
    /// @dev Gas handed to the token: several times what a proxied, hooked or rebasing token on Base uses.
    uint256 internal constant TRANSFER_GAS = 300_000;

    /// @dev Gas that must be left before the call. A call may pass on at most 63/64 of what is left (EIP-150) after paying
    /// for a cold account (2,600), and for a second one where the token is an EIP-7702 account that delegates; so a little
    /// more than 64/63 of TRANSFER_GAS.
    uint256 internal constant REQUIRED_GAS = TRANSFER_GAS + TRANSFER_GAS / 63 + 8_000;

    /// @notice Tries to transfer `amount` of `token` to `to`.
    /// @return success False when the token reverts, runs out of TRANSFER_GAS, or is not a contract: then nothing moved.
    /// @dev A token that goes through but answers anything but true (or nothing) may have moved the tokens, as Tether Gold
    /// does, so this reverts, like SafeERC20: to call it a failure would pay twice. Reads at most one word of what the
    /// token returns, however much it sends back.
    function tryTransfer(address token, address to, uint256 amount) internal returns (bool success) {
        require(gasleft() >= REQUIRED_GAS, ISessionChannels.InsufficientGas());
        bool ambiguous;
        bytes4 selector = IERC20.transfer.selector;
        assembly ("memory-safe") {
            let data := mload(0x40)
            mstore(data, selector)
            mstore(add(data, 0x04), to)
            mstore(add(data, 0x24), amount)
            success := call(TRANSFER_GAS, token, 0, data, 0x44, 0x00, 0x20)
            switch returndatasize()
            case 0 { success := and(success, iszero(iszero(extcodesize(token)))) }
            default { ambiguous := and(success, iszero(and(gt(returndatasize(), 0x1f), eq(mload(0x00), 1)))) }
        }
        require(!ambiguous, SafeERC20.SafeERC20FailedOperation(token));
    }
}
