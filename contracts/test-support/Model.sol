// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {ChannelsApi} from "./ChannelsApi.sol";
import {ISessionChannels} from "../interfaces/ISessionChannels.sol";
import {Digests} from "./Digests.sol";
import {World} from "./World.sol";

/// @notice What SessionChannels must do, written a second time and as plainly as possible: the state it must hold, and
/// the answer to every row. Tests compare the contract with it after every call.
abstract contract Model is World {
    struct Channel {
        uint128 balance;
        uint128 claimed;
        uint128 pending;
        uint40 pendingSince;
        uint256 refundNonce;
        /// Highest ceiling the payer really signed.
        uint128 signed;
        /// Highest totalClaimed ever seen on chain.
        uint128 highWater;
    }

    struct Totals {
        uint128 claimed;
        uint128 settled;
    }

    mapping(uint256 channel => Channel) internal model;
    mapping(address receiver => mapping(address token => Totals)) internal totals;
    mapping(address token => uint256) internal surplus;

    function available(uint256 channel) internal view returns (uint128) {
        return model[channel].balance - model[channel].claimed;
    }

    function expectedStatus(Row memory row, bool packed) internal view returns (ISessionChannels.RowStatus) {
        Channel storage c = model[row.channel];
        if (row.total <= c.claimed) return ISessionChannels.RowStatus.NothingNew;
        if (row.total > row.ceiling) return ISessionChannels.RowStatus.ExceedsCeiling;
        if (row.total > c.balance) return ISessionChannels.RowStatus.ExceedsBalance;
        if (packed && configOf(row.channel).payerAuthorizer == address(0)) {
            return ISessionChannels.RowStatus.ContractSignatureUnsupported;
        }
        // A wallet applies its own rules: this one, like ecrecover, does not mind a high s.
        bool accepted = row.forgery == Forgery.None
            || (row.forgery == Forgery.HighS && signedByContract(row.channel));
        return accepted ? ISessionChannels.RowStatus.Claimed : ISessionChannels.RowStatus.InvalidSignature;
    }

    /// @notice A row that is good, or bad in one of the ways a row can be, against the state the model has now.
    function randomRow(uint256 seed, uint256 channel) internal view returns (Row memory row) {
        Channel storage c = model[channel];
        row.channel = channel;
        uint256 what = random(seed, "what") % 12;
        uint256 amount = random(seed, "amount");
        if (what == 0) {
            row.total = uint128(bound(amount, 0, c.claimed));
            row.ceiling = uint128(bound(amount >> 8, 0, type(uint128).max));
        } else if (what == 1) {
            row.ceiling = uint128(bound(amount, 0, c.claimed));
            row.total = row.ceiling + 1 + uint128(amount % 3);
        } else if (what == 2) {
            row.total = uint128(c.balance + 1 + uint64(amount) % 1000);
            row.ceiling = row.total + uint128(amount % 2);
        } else {
            if (c.balance > c.claimed) row.total = uint128(bound(amount, uint256(c.claimed) + 1, c.balance));
            else row.total = c.claimed + uint128(amount % 2);
            row.ceiling = row.total;
            if (what == 3) row.ceiling = uint128(bound(amount >> 8, row.total, type(uint128).max));
            if (what == 4 && row.total > 0) row.ceiling = row.total - 1;
            if (what == 5) row.ceiling = uint128(bound(amount >> 8, row.total, uint256(row.total) + 10));
            if (what < 8 && what > 5) row.forgery = Forgery(1 + amount % uint256(type(Forgery).max));
        }
    }

    /// @return delta What the row moved.
    function applyClaim(Row memory row) internal returns (uint128 delta) {
        Channel storage c = model[row.channel];
        delta = row.total - c.claimed;
        c.claimed = row.total;
        Family memory f = familyOf(row.channel);
        totals[f.receiver][f.token].claimed += delta;
    }

    /// @notice The error with which a plain claim refuses a row of that status, or zero.
    /// @dev A payerAuthorizer's signature is recovered by OpenZeppelin's ECDSA, whose own errors are published behaviour.
    function errorFor(ChannelsApi target, Row memory row, ISessionChannels.RowStatus status)
        internal
        view
        returns (bytes4)
    {
        if (status == ISessionChannels.RowStatus.ExceedsCeiling) return ISessionChannels.ClaimExceedsCeiling.selector;
        if (status == ISessionChannels.RowStatus.ExceedsBalance) return ISessionChannels.ClaimExceedsBalance.selector;
        if (status != ISessionChannels.RowStatus.InvalidSignature) return 0;
        if (configOf(row.channel).payerAuthorizer == address(0)) return ISessionChannels.InvalidSignature.selector;
        if (row.forgery == Forgery.HighS) return ECDSA.ECDSAInvalidSignatureS.selector;
        bytes memory sig = rowSignature(target, row);
        bytes32 digest = Digests.voucher(address(target), idOf(target, row.channel), row.ceiling);
        (bytes32 r, bytes32 vs) = compact(sig);
        bytes32 s = vs & bytes32(type(uint256).max >> 1);
        return ecrecover(digest, uint8(sig[64]), r, s) == address(0)
            ? ECDSA.ECDSAInvalidSignature.selector
            : ISessionChannels.InvalidSignature.selector;
    }

    /// @notice Every word of storage the contract answers for must be what the model says.
    function checkState(ChannelsApi target) internal view {
        for (uint256 i = 0; i < CHANNELS; i++) {
            checkChannel(target, i);
        }
        for (uint256 i = 0; i < FAMILIES; i++) {
            checkTotals(target, families[i].receiver, families[i].token);
        }
    }

    function checkChannel(ChannelsApi target, uint256 channel) internal view {
        bytes32 id = idOf(target, channel);
        Channel storage c = model[channel];
        (uint128 balance, uint128 claimed) = target.channels(id);
        vm.assertEq(balance, c.balance, "balance");
        vm.assertEq(claimed, c.claimed, "totalClaimed");
        (uint128 amount, uint40 since) = target.pendingWithdrawals(id);
        vm.assertEq(amount, c.pending, "pending amount");
        vm.assertEq(since, c.pendingSince, "pending since");
        vm.assertEq(target.refundNonce(id), c.refundNonce, "refund nonce");
    }

    function checkTotals(ChannelsApi target, address receiver, address token) internal view {
        (uint128 claimed, uint128 settled) = target.receivers(receiver, token);
        vm.assertEq(claimed, totals[receiver][token].claimed, "receiver claimed");
        vm.assertEq(settled, totals[receiver][token].settled, "receiver settled");
    }
}
