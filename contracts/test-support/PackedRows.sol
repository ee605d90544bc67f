// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @notice Writes packed rows as `claimPacked` documents them:
/// flags(1) payer(20) [payerAuthorizer(20)] [salt(32)] ceiling(8|16) [totalClaimed(8|16)] r(32) vs(32).
library PackedRows {
    uint8 internal constant HAS_AUTHORIZER = 0x01;
    uint8 internal constant HAS_SALT = 0x02;
    uint8 internal constant WIDE = 0x04;
    uint8 internal constant HAS_TOTAL = 0x08;

    struct Row {
        address payer;
        address payerAuthorizer;
        bytes32 salt;
        uint128 ceiling;
        uint128 totalClaimed;
        bytes32 r;
        bytes32 vs;
    }

    /// @param extra Flags to set although the row does not need them: an explicit form must mean the same.
    function encode(Row memory row, uint8 extra) internal pure returns (bytes memory out) {
        uint8 flags = extra & 0x0f;
        if (row.payerAuthorizer != row.payer) flags |= HAS_AUTHORIZER;
        if (row.salt != 0) flags |= HAS_SALT;
        if (row.ceiling > type(uint64).max || row.totalClaimed > type(uint64).max) flags |= WIDE;
        if (row.totalClaimed != row.ceiling) flags |= HAS_TOTAL;
        out = abi.encodePacked(flags, row.payer);
        if (flags & HAS_AUTHORIZER != 0) out = abi.encodePacked(out, row.payerAuthorizer);
        if (flags & HAS_SALT != 0) out = abi.encodePacked(out, row.salt);
        out = _amount(out, row.ceiling, flags);
        if (flags & HAS_TOTAL != 0) out = _amount(out, row.totalClaimed, flags);
        out = abi.encodePacked(out, row.r, row.vs);
    }

    function _amount(bytes memory out, uint128 amount, uint8 flags) private pure returns (bytes memory) {
        return flags & WIDE != 0 ? abi.encodePacked(out, amount) : abi.encodePacked(out, uint64(amount));
    }
}
