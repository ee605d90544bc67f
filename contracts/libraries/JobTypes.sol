// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IJobEscrow} from "../interfaces/IJobEscrow.sol";

/// @title JobTypes
/// @notice EIP-712 types of JobEscrow. The same types, for signers: sdk/src/job-messages.ts.
library JobTypes {
    bytes32 internal constant HIRE = keccak256(
        "JobHire(address client,address provider,address evaluator,address hook,uint256 expiredAt,uint256 budget,string description,bytes optParams)"
    );
    bytes32 internal constant SUBMISSION =
        keccak256("JobSubmission(uint256 jobId,bytes32 deliverable,bytes optParams,uint256 deadline)");
    bytes32 internal constant COMPLETION =
        keccak256("JobCompletion(uint256 jobId,bytes32 reason,bytes optParams,uint256 deadline)");
    bytes32 internal constant REJECTION =
        keccak256("JobRejection(uint256 jobId,bytes32 reason,bytes optParams,uint256 deadline)");

    function hashHire(address client, IJobEscrow.HireTerms calldata terms) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                HIRE,
                client,
                terms.provider,
                terms.evaluator,
                terms.hook,
                terms.expiredAt,
                terms.budget,
                keccak256(bytes(terms.description)),
                keccak256(terms.optParams)
            )
        );
    }

    /// @notice Of SUBMISSION, COMPLETION or REJECTION, whose members are of the same types.
    function hashVerb(bytes32 typehash, uint256 jobId, bytes32 word, bytes calldata optParams, uint256 deadline)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(typehash, jobId, word, keccak256(optParams), deadline));
    }
}
