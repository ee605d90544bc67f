// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IMandateRegistry} from "../interfaces/IMandateRegistry.sol";
import {Digests} from "./Digests.sol";

/// @notice What signers of MandateRegistry sign, and the Merkle tree of payees, computed here from the type strings and by
/// plain means, never by asking the contract under test.
library MandateDigests {
    bytes32 internal constant MANDATE_TYPEHASH = keccak256(
        "Mandate(address principal,address delegate,address token,uint128 limit,uint128 periodLimit,uint128 paymentLimit,uint40 period,uint40 validAfter,uint40 validUntil,uint32 epoch,bytes32 payeesRoot,bytes32 capability,bytes32 parent,bytes32 terms,bytes32 salt)"
    );
    bytes32 internal constant SPEND_TYPEHASH =
        keccak256("MandateSpend(bytes32 mandateId,address payee,uint128 amount,uint256 nonce,uint256 deadline)");
    bytes32 internal constant DEPOSIT_TYPEHASH =
        keccak256("MandateDeposit(bytes32 mandateId,bytes32 channelId,uint128 amount,uint256 nonce,uint256 deadline)");
    bytes32 internal constant REVOCATION_TYPEHASH = keccak256("MandateRevocation(bytes32 mandateId)");

    function typed(address registry, bytes32 structHash) internal view returns (bytes32) {
        bytes32 domain = Digests.domain("Tallystick Mandate Registry", "1", registry);
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }

    function mandateId(address registry, IMandateRegistry.Mandate memory mandate) internal view returns (bytes32) {
        return typed(registry, keccak256(abi.encode(MANDATE_TYPEHASH, mandate)));
    }

    function spend(address registry, bytes32 id, IMandateRegistry.SignedSpend memory row)
        internal
        view
        returns (bytes32)
    {
        return typed(
            registry,
            keccak256(abi.encode(SPEND_TYPEHASH, id, row.order.payee, row.order.amount, row.nonce, row.deadline))
        );
    }

    function deposit(address registry, bytes32 id, bytes32 channelId, IMandateRegistry.SignedSpend memory row)
        internal
        view
        returns (bytes32)
    {
        return typed(
            registry, keccak256(abi.encode(DEPOSIT_TYPEHASH, id, channelId, row.order.amount, row.nonce, row.deadline))
        );
    }

    function revocation(address registry, bytes32 id) internal view returns (bytes32) {
        return typed(registry, keccak256(abi.encode(REVOCATION_TYPEHASH, id)));
    }

    // ------------------------------------------------------------------ payees

    function leaf(address payee) internal pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(payee))));
    }

    /// @notice Root of a tree of two.
    function rootOfTwo(address a, address b) internal pure returns (bytes32) {
        (bytes32 x, bytes32 y) = (leaf(a), leaf(b));
        return x < y ? keccak256(abi.encodePacked(x, y)) : keccak256(abi.encodePacked(y, x));
    }
}
