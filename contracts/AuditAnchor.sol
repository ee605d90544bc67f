// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IAuditAnchor} from "./interfaces/IAuditAnchor.sol";

/// @title AuditAnchor
/// @notice See IAuditAnchor.
contract AuditAnchor is IAuditAnchor {
    /// @inheritdoc IAuditAnchor
    function anchor(bytes32 root, uint64 day) external {
        emit Anchored(msg.sender, day, root);
    }
}
