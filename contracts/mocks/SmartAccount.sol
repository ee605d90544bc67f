// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @title SmartAccount
/// @notice Code for an account by EIP-7702, as wallets install it: it answers ERC-1271 for signatures of the account's own key,
/// bound to the account by one more hash, so that a plain signature of the digest is none of its own. For tests.
contract SmartAccount {
    bytes4 private constant VALID = 0x1626ba7e;

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        (address signer,,) = ECDSA.tryRecoverCalldata(boundDigest(digest), signature);
        return signer == address(this) ? VALID : bytes4(0xffffffff);
    }

    function boundDigest(bytes32 digest) public view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), digest));
    }
}
