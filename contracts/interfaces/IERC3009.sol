// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title IERC3009
/// @notice The part of ERC-3009 that deposits use, in the overload that takes a signature of any length (USDC v2.2), so
/// that contract wallets can sign by ERC-1271.
interface IERC3009 {
    /// @notice Moves `value` from `from` to `to`, which must be the caller, by a signature of `from`.
    /// @param validAfter Unix seconds; the authorisation is valid strictly after.
    /// @param validBefore Unix seconds; the authorisation is valid strictly before.
    /// @param nonce Single-use, chosen by the signer.
    /// @param signature ECDSA (65 bytes r, s, v) or whatever the contract wallet `from` understands.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes calldata signature
    ) external;
}
