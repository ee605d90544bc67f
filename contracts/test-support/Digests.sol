// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ISessionChannels} from "../interfaces/ISessionChannels.sol";

/// @notice What signers of SessionChannels sign, computed here from the published type strings and never by asking the
/// contract under test, so that a wrong typehash or domain in it cannot agree with itself.
library Digests {
    bytes32 internal constant CONFIG_TYPEHASH = keccak256(
        "ChannelConfig(address payer,address payerAuthorizer,address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 salt)"
    );
    bytes32 internal constant VOUCHER_TYPEHASH = keccak256("Voucher(bytes32 channelId,uint128 maxClaimableAmount)");
    bytes32 internal constant REFUND_TYPEHASH = keccak256("Refund(bytes32 channelId,uint256 nonce,uint128 amount)");
    bytes32 internal constant ENTRY_TYPEHASH =
        keccak256("ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)");
    bytes32 internal constant BATCH_TYPEHASH = keccak256(
        "ClaimBatch(ClaimEntry[] claims)ClaimEntry(bytes32 channelId,uint128 maxClaimableAmount,uint128 totalClaimed)"
    );
    bytes32 internal constant PACKED_TYPEHASH = keccak256(
        "PackedClaim(address receiver,address receiverAuthorizer,address token,uint40 withdrawDelay,bytes32 receiptsRoot,bytes rows)"
    );
    bytes32 internal constant WITHDRAW_TYPEHASH =
        keccak256("WithdrawRequest(bytes32 channelId,uint128 amount,uint256 deadline)");
    bytes32 internal constant RECEIVE_TYPEHASH = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );
    bytes32 internal constant DOMAIN_TYPEHASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

    function domain(string memory name, string memory version, address verifyingContract) internal view returns (bytes32) {
        return keccak256(
            abi.encode(DOMAIN_TYPEHASH, keccak256(bytes(name)), keccak256(bytes(version)), block.chainid, verifyingContract)
        );
    }

    function _typed(address channels, bytes32 structHash) private view returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", domain("x402 Batch Settlement", "1", channels), structHash));
    }

    function channelId(address channels, ISessionChannels.ChannelConfig memory config) internal view returns (bytes32) {
        return _typed(channels, keccak256(abi.encode(CONFIG_TYPEHASH, config)));
    }

    function voucher(address channels, bytes32 id, uint128 ceiling) internal view returns (bytes32) {
        return _typed(channels, keccak256(abi.encode(VOUCHER_TYPEHASH, id, ceiling)));
    }

    function refund(address channels, bytes32 id, uint256 nonce, uint128 amount) internal view returns (bytes32) {
        return _typed(channels, keccak256(abi.encode(REFUND_TYPEHASH, id, nonce, amount)));
    }

    function withdrawRequest(address channels, bytes32 id, uint128 amount, uint256 deadline)
        internal
        view
        returns (bytes32)
    {
        return _typed(channels, keccak256(abi.encode(WITHDRAW_TYPEHASH, id, amount, deadline)));
    }

    function claimBatch(address channels, ISessionChannels.VoucherClaim[] memory claims) internal view returns (bytes32) {
        bytes memory entries;
        for (uint256 i = 0; i < claims.length; i++) {
            bytes32 id = channelId(channels, claims[i].voucher.channel);
            entries = abi.encodePacked(
                entries,
                keccak256(
                    abi.encode(ENTRY_TYPEHASH, id, claims[i].voucher.maxClaimableAmount, claims[i].totalClaimed)
                )
            );
        }
        return _typed(channels, keccak256(abi.encode(BATCH_TYPEHASH, keccak256(entries))));
    }

    function packedClaim(address channels, ISessionChannels.PackedGroup memory group) internal view returns (bytes32) {
        return _typed(
            channels,
            keccak256(
                abi.encode(
                    PACKED_TYPEHASH,
                    group.receiver,
                    group.receiverAuthorizer,
                    group.token,
                    group.withdrawDelay,
                    group.receiptsRoot,
                    keccak256(group.rows)
                )
            )
        );
    }

    /// @param tokenDomain EIP-712 domain separator of the token.
    function receiveWithAuthorization(
        bytes32 tokenDomain,
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce
    ) internal pure returns (bytes32) {
        bytes32 structHash = keccak256(abi.encode(RECEIVE_TYPEHASH, from, to, value, validAfter, validBefore, nonce));
        return keccak256(abi.encodePacked(hex"1901", tokenDomain, structHash));
    }
}
