// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title DisputeTypes
/// @notice EIP-712 types of DisputeEvaluator. The same types, for signers: sdk/src/job-messages.ts.
library DisputeTypes {
    bytes32 internal constant DISPUTE = keccak256("Dispute(uint256 jobId,address party,bytes32 evidence)");
    bytes32 internal constant ESCALATION = keccak256("Escalation(uint256 jobId,address party)");
    bytes32 internal constant CONCESSION = keccak256("Concession(uint256 jobId,address party,uint256 deadline)");
    bytes32 internal constant VOTE =
        keccak256("VoteCommitment(uint256 jobId,uint256 round,uint256 seat,bytes32 commitment,uint256 deadline)");
    bytes32 internal constant RULING =
        keccak256("Ruling(uint256 jobId,uint16 providerBps,bytes32 reason,uint256 deadline)");
}
