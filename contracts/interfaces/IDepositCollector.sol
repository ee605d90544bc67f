// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title IDepositCollector
/// @notice Moves a payer's tokens into SessionChannels by whatever authorisation `data` carries.
interface IDepositCollector {
    /// @notice Pulls exactly `amount` of `token` from `payer` into the calling channel contract.
    /// @param payer Owner of the tokens.
    /// @param token ERC-20 to move.
    /// @param amount Atomic token units.
    /// @param channelId Channel the deposit is for; an authorisation must bind it.
    /// @param data Collector-specific authorisation.
    function collect(address payer, address token, uint256 amount, bytes32 channelId, bytes calldata data) external;
}
