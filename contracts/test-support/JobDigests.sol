// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IJobEscrow} from "../interfaces/IJobEscrow.sol";
import {Digests} from "./Digests.sol";

/// @notice What signers of JobEscrow sign, computed here from the type strings, never by asking the contract under test.
library JobDigests {
    bytes32 internal constant HIRE_TYPEHASH = keccak256(
        "JobHire(address client,address provider,address evaluator,address hook,uint256 expiredAt,uint256 budget,string description,bytes optParams)"
    );
    string internal constant SUBMISSION = "JobSubmission(uint256 jobId,bytes32 deliverable,bytes optParams,uint256 deadline)";
    string internal constant COMPLETION = "JobCompletion(uint256 jobId,bytes32 reason,bytes optParams,uint256 deadline)";
    string internal constant REJECTION = "JobRejection(uint256 jobId,bytes32 reason,bytes optParams,uint256 deadline)";

    function typed(address escrow, bytes32 structHash) internal view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", Digests.domain("Tallystick Job Escrow", "1", escrow), structHash));
    }

    function hire(address escrow, address client, IJobEscrow.HireTerms memory terms) internal view returns (bytes32) {
        bytes memory encoded = abi.encode(
            HIRE_TYPEHASH,
            client,
            terms.provider,
            terms.evaluator,
            terms.hook,
            terms.expiredAt,
            terms.budget,
            keccak256(bytes(terms.description)),
            keccak256(terms.optParams)
        );
        return typed(escrow, keccak256(encoded));
    }

    function verb(
        address escrow,
        string memory types,
        uint256 jobId,
        bytes32 word,
        bytes memory optParams,
        uint256 deadline
    ) internal view returns (bytes32) {
        return typed(
            escrow, keccak256(abi.encode(keccak256(bytes(types)), jobId, word, keccak256(optParams), deadline))
        );
    }
}
