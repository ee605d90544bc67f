// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IdentityRegistry} from "./IdentityRegistry.sol";

/// @title ReputationRegistry
/// @notice An ERC-8004 reputation registry for the local world and for tests, written from the standard's text: giving, revoking
/// and reading single feedback. On public chains the deployed registries are used.
contract ReputationRegistry {
    struct Feedback {
        int128 value;
        uint8 valueDecimals;
        bool isRevoked;
        string tag1;
        string tag2;
    }

    event NewFeedback(
        uint256 indexed agentId,
        address indexed clientAddress,
        uint64 feedbackIndex,
        int128 value,
        uint8 valueDecimals,
        string indexed indexedTag1,
        string tag1,
        string tag2,
        string endpoint,
        string feedbackURI,
        bytes32 feedbackHash
    );
    event FeedbackRevoked(uint256 indexed agentId, address indexed clientAddress, uint64 indexed feedbackIndex);

    error InvalidDecimals(uint8 valueDecimals);
    error SelfFeedback(address client, uint256 agentId);
    error UnknownFeedback(uint256 agentId, address client, uint64 feedbackIndex);

    address private immutable _identity;
    mapping(uint256 agentId => mapping(address client => uint64)) private _lastIndex;
    mapping(uint256 agentId => mapping(address client => mapping(uint64 index => Feedback))) private _feedback;
    mapping(uint256 agentId => address[]) private _clients;

    constructor(address identityRegistry) {
        _identity = identityRegistry;
    }

    function giveFeedback(
        uint256 agentId,
        int128 value,
        uint8 valueDecimals,
        string calldata tag1,
        string calldata tag2,
        string calldata endpoint,
        string calldata feedbackURI,
        bytes32 feedbackHash
    ) external {
        require(valueDecimals <= 18, InvalidDecimals(valueDecimals));
        bool isOwn = IdentityRegistry(_identity).isAuthorizedOrOwner(msg.sender, agentId);
        require(!isOwn, SelfFeedback(msg.sender, agentId));
        uint64 index = ++_lastIndex[agentId][msg.sender];
        if (index == 1) _clients[agentId].push(msg.sender);
        _feedback[agentId][msg.sender][index] = Feedback(value, valueDecimals, false, tag1, tag2);
        _announce(agentId, index, tag1, tag2, endpoint, feedbackURI, feedbackHash);
    }

    function _announce(
        uint256 agentId,
        uint64 index,
        string calldata tag1,
        string calldata tag2,
        string calldata endpoint,
        string calldata feedbackURI,
        bytes32 feedbackHash
    ) private {
        Feedback storage given = _feedback[agentId][msg.sender][index];
        emit NewFeedback(
            agentId,
            msg.sender,
            index,
            given.value,
            given.valueDecimals,
            tag1,
            tag1,
            tag2,
            endpoint,
            feedbackURI,
            feedbackHash
        );
    }

    function revokeFeedback(uint256 agentId, uint64 feedbackIndex) external {
        bool exists = feedbackIndex != 0 && feedbackIndex <= _lastIndex[agentId][msg.sender];
        require(exists, UnknownFeedback(agentId, msg.sender, feedbackIndex));
        _feedback[agentId][msg.sender][feedbackIndex].isRevoked = true;
        emit FeedbackRevoked(agentId, msg.sender, feedbackIndex);
    }

    function readFeedback(uint256 agentId, address client, uint64 feedbackIndex)
        external
        view
        returns (int128 value, uint8 valueDecimals, string memory tag1, string memory tag2, bool isRevoked)
    {
        Feedback storage f = _feedback[agentId][client][feedbackIndex];
        return (f.value, f.valueDecimals, f.tag1, f.tag2, f.isRevoked);
    }

    function getLastIndex(uint256 agentId, address client) external view returns (uint64) {
        return _lastIndex[agentId][client];
    }

    function getClients(uint256 agentId) external view returns (address[] memory) {
        return _clients[agentId];
    }

    function getIdentityRegistry() external view returns (address) {
        return _identity;
    }
}
