// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {IDisputeEvaluator} from "./interfaces/IDisputeEvaluator.sol";
import {DisputeTypes} from "./libraries/DisputeTypes.sol";

/// @title DisputeDigests
/// @notice What parties, verifiers and arbitrators sign for DisputeEvaluator.
abstract contract DisputeDigests is EIP712 {
    bytes32 public constant DISPUTE_TYPEHASH = DisputeTypes.DISPUTE;
    bytes32 public constant ESCALATION_TYPEHASH = DisputeTypes.ESCALATION;
    bytes32 public constant CONCESSION_TYPEHASH = DisputeTypes.CONCESSION;
    bytes32 public constant VOTE_TYPEHASH = DisputeTypes.VOTE;
    bytes32 public constant RULING_TYPEHASH = DisputeTypes.RULING;

    constructor() EIP712("Tallystick Dispute Evaluator", "1") {}

    /// @notice What the bond of a dispute by ERC-3009 is bound to.
    function getDisputeDigest(uint256 jobId, address party, bytes32 evidence) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(DISPUTE_TYPEHASH, jobId, party, evidence)));
    }

    /// @notice What the bond of an escalation by ERC-3009 is bound to.
    function getEscalationDigest(uint256 jobId, address party) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(ESCALATION_TYPEHASH, jobId, party)));
    }

    /// @notice What a party signs for `concedeBySig`.
    function getConcessionDigest(uint256 jobId, address party, uint256 deadline) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(CONCESSION_TYPEHASH, jobId, party, deadline)));
    }

    /// @notice What a verifier signs for `commitVoteBySig`.
    function getVoteDigest(uint256 jobId, uint256 round, uint256 seat, bytes32 commitment, uint256 deadline)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(keccak256(abi.encode(VOTE_TYPEHASH, jobId, round, seat, commitment, deadline)));
    }

    /// @notice What an arbitrator signs for `ruleBySig`.
    function getRulingDigest(uint256 jobId, uint16 providerBps, bytes32 reason, uint256 deadline)
        public
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(keccak256(abi.encode(RULING_TYPEHASH, jobId, providerBps, reason, deadline)));
    }

    /// @dev ECDSA for accounts without code, ERC-1271 for those with (wallets, EIP-7702 accounts).
    function _requireSignature(address signer, bytes32 digest, uint256 deadline, bytes calldata signature) internal view {
        require(block.timestamp <= deadline, IDisputeEvaluator.SignatureExpired(deadline, block.timestamp));
        require(SignatureChecker.isValidSignatureNowCalldata(signer, digest, signature), IDisputeEvaluator.InvalidSignature(signer));
    }
}
