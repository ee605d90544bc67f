// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

/// @title ERC1271Wallet
/// @notice A contract wallet with one owner key that can change its mind about every signature it ever gave.
contract ERC1271Wallet is IERC1271 {
    address public immutable owner;

    /// @notice While set, no signature is valid.
    bool public flipped;

    constructor(address owner_) {
        owner = owner_;
    }

    function setFlipped(bool flipped_) external {
        flipped = flipped_;
    }

    /// @inheritdoc IERC1271
    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        if (flipped) return 0xffffffff;
        (address signer,,) = ECDSA.tryRecoverCalldata(hash, signature);
        return signer == owner && signer != address(0) ? IERC1271.isValidSignature.selector : bytes4(0xffffffff);
    }

    /// @notice Lets the wallet act, so that it can approve, deposit and withdraw.
    function execute(address target, bytes calldata data) external returns (bytes memory) {
        require(msg.sender == owner, "ERC1271Wallet: not the owner");
        (bool success, bytes memory answer) = target.call(data);
        if (!success) {
            assembly ("memory-safe") {
                revert(add(answer, 0x20), mload(answer))
            }
        }
        return answer;
    }
}
