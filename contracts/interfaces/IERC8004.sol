// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title IAgentIdentity
/// @notice What the bazaar reads of an ERC-8004 identity registry. An agentId is an ERC-721 token id and may be 0.
interface IAgentIdentity {
    /// @notice The agent's owner. Reverts when there is no such agent.
    function ownerOf(uint256 agentId) external view returns (address);

    /// @notice Where the agent takes payments; zero when unset, as after a transfer.
    function getAgentWallet(uint256 agentId) external view returns (address);
}

/// @title IAgentReputation
/// @notice What the bazaar calls of an ERC-8004 reputation registry.
interface IAgentReputation {
    /// @notice Feedback by the sender, who must be neither the agent's owner nor an operator of it.
    /// @param value Signed fixed point with `valueDecimals` (0 to 18) decimals.
    function giveFeedback(
        uint256 agentId,
        int128 value,
        uint8 valueDecimals,
        string calldata tag1,
        string calldata tag2,
        string calldata endpoint,
        string calldata feedbackURI,
        bytes32 feedbackHash
    ) external;
}
