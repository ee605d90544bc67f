// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title IACPHook
/// @notice What ERC-8183 asks of the hook of a job: two callbacks around every hookable verb of the escrow.
/// @dev Nothing else is asked, ERC-165 neither: a hook that answers only these two is a hook.
interface IACPHook {
    /// @notice Before the verb has changed anything. A revert refuses it.
    /// @param selector The verb, by its function selector in IERC8183.
    /// @param data setProvider: abi.encode(address provider, bytes optParams); setBudget: abi.encode(uint256 amount, bytes
    /// optParams); fund: optParams as they are; submit: abi.encode(bytes32 deliverable, bytes optParams); complete and
    /// reject: abi.encode(bytes32 reason, bytes optParams).
    function beforeAction(uint256 jobId, bytes4 selector, bytes calldata data) external;

    /// @notice After the verb has changed its state and moved its tokens. A revert takes all of it back.
    function afterAction(uint256 jobId, bytes4 selector, bytes calldata data) external;
}
