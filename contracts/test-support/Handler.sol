// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ChannelsApi} from "./ChannelsApi.sol";
import {ISessionChannels} from "../interfaces/ISessionChannels.sol";
import {Digests} from "./Digests.sol";
import {Model} from "./Model.sol";
import {ScriptedToken} from "./Tokens.sol";
import {Vm} from "./Vm.sol";

/// @notice Random callers doing random things to one SessionChannels. Each action first asks the model what must happen,
/// then insists on exactly that: the effect, or the very error.
contract Handler is Model {
    ChannelsApi public immutable channels;

    bytes[] private replayData;
    address[] private replaySender;
    uint256 private consents;
    /// How often each action really moved something, so that a test can tell a lively run from an idle one.
    mapping(bytes4 action => uint256) public effects;

    constructor() {
        buildWorld();
        channels = deployChannels();
    }

    // ------------------------------------------------------------------ money in

    function deposit(uint256 seed, uint128 amount) external {
        uint256 channel = seed % CHANNELS;
        Channel storage c = model[channel];
        ISessionChannels.ChannelConfig memory config = configOf(channel);
        if (seed % 17 == 0 && c.balance > 0) amount = type(uint128).max - uint128(amount % c.balance);
        else amount = uint128(bound(amount, seed % 5 == 0 ? 0 : 1, 1e12));

        (address from, bytes memory data) = (address(collector), bytes(""));
        if (seed % 3 == 0 && config.payer != address(payerWallet)) {
            uint256 key = config.payer == vm.addr(PAYER_KEY) ? PAYER_KEY : OTHER_PAYER_KEY;
            uint256 salt = random(seed, block.timestamp + c.balance + c.claimed + surplus[config.token]++);
            ScriptedToken(config.token).mint(address(channels), 1);
            data = authorizationData(
                key, config.token, address(channels), idOf(channels, channel), amount, 0, block.timestamp + 1, salt
            );
            from = address(channels);
        }

        bytes4 expected;
        if (amount == 0) expected = ISessionChannels.ZeroDeposit.selector;
        else if (uint256(c.balance) + amount > type(uint128).max) expected = ISessionChannels.DepositOverflow.selector;
        else expected = _inwardError(config.token);
        if (expected == 0) c.balance += amount;
        _must(thief, abi.encodeCall(channels.deposit, (config, amount, from, data)), expected);
        checkChannel(channels, channel);
    }

    /// @notice Tokens that arrive unasked belong to nobody and must never be counted.
    function donate(uint256 seed, uint64 amount) external {
        ScriptedToken token = seed % 2 == 0 ? honest : other;
        token.mint(address(channels), amount);
        surplus[address(token)] += amount;
    }

    // ------------------------------------------------------------------ claims

    function claim(uint256 seed, uint256 count) external {
        uint256 family = seed % FAMILIES;
        Row[] memory rows = _rows(seed, family, bound(count, 0, 4));
        address sender = _claimant(seed, family);
        bytes4 expected = _claimError(rows, _mayClaim(sender, family) ? bytes4(0) : _unauthorized());
        _claim(sender, abi.encodeCall(channels.claim, plainRows(channels, rows)), rows, expected);
    }

    /// @notice One authorizer acts for two receivers in one batch.
    function claimTwoFamilies(uint256 seed) external {
        Row[] memory rows = _concat(_rows(seed, 1, 2), _rows(random(seed, "second"), 2, 2));
        bytes memory data = abi.encodeCall(channels.claim, plainRows(channels, rows));
        _claim(vm.addr(CLAIM_KEY), data, rows, _claimError(rows, 0));
    }

    function claimWithSignature(uint256 seed, uint256 count) external {
        uint256 family = seed % FAMILIES;
        Row[] memory rows = _rows(seed, family, bound(count, 0, 4));
        ISessionChannels.VoucherClaim[] memory claims = plainRows(channels, rows);
        bool forged = seed % 7 == 0;
        bytes memory sig = _batchSignature(claims, family, forged);
        bytes4 expected = _claimError(rows, forged ? ISessionChannels.InvalidSignature.selector : bytes4(0));
        _claim(thief, abi.encodeCall(channels.claimWithSignature, (claims, sig)), rows, expected);
    }

    function claimPacked(uint256 seed, uint256 count) external {
        uint256 groupCount = bound(count, 1, 3);
        ISessionChannels.PackedGroup[] memory groups = new ISessionChannels.PackedGroup[](groupCount);
        Row[][] memory rows = new Row[][](groupCount);
        bytes4 expected;
        for (uint256 g = 0; g < groupCount; g++) {
            uint256 groupSeed = random(seed, g);
            uint256 family = groupSeed % FAMILIES;
            rows[g] = _rows(groupSeed, family, 1 + groupSeed % 4);
            groups[g] = groupOf(family, _pack(rows[g], groupSeed), bytes32(groupSeed % 2));
            if (groupSeed % 19 == 0) {
                groups[g].authorization = abi.encodePacked(groupSeed, groupSeed >> 1, uint8(27));
                if (expected == 0) expected = ISessionChannels.InvalidSignature.selector;
            } else if (groupSeed % 19 == 1) {
                if (expected == 0) expected = _unauthorized();
            } else {
                authorize(channels, family, groups[g]);
            }
        }
        bytes memory data = abi.encodeCall(channels.claimPacked, groups);
        if (expected != 0) return _must(thief, data, expected);

        vm.recordLogs();
        _must(thief, data, 0);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, groupCount, "one event a group");
        for (uint256 g = 0; g < groupCount; g++) {
            (bytes memory results, uint128 sum) = _applyPacked(rows[g]);
            if (sum > 0) effects[Handler.claimPacked.selector]++;
            (,,, uint128 claimAmount, bytes memory actual) =
                abi.decode(logs[g].data, (address, uint40, bytes32, uint128, bytes));
            vm.assertEq(claimAmount, sum, "claimAmount");
            vm.assertEq(actual, results, "results");
        }
        _must(thief, data, 0);
        checkState(channels);
    }

    function claimAndSettle(uint256 seed, uint256 count) external {
        uint256 family = seed % FAMILIES;
        Family memory f = families[family];
        Row[] memory rows = _rows(seed, family, bound(count, 0, 4));
        ISessionChannels.VoucherClaim[] memory claims = plainRows(channels, rows);
        bool bySignature = seed % 2 == 0;
        address sender = bySignature ? thief : _claimant(seed, family);
        bool forged = bySignature && seed % 9 == 0;
        bytes memory sig = bySignature ? _batchSignature(claims, family, forged) : bytes("");
        bytes4 denied = forged ? ISessionChannels.InvalidSignature.selector : bytes4(0);
        if (!bySignature && !_mayClaim(sender, family)) denied = _unauthorized();
        bytes4 expected = _claimError(rows, denied);
        if (expected == 0 && _outwardError(f.token) == 0) {
            totals[f.receiver][f.token].settled = totals[f.receiver][f.token].claimed;
        }
        _claim(sender, abi.encodeCall(channels.claimAndSettle, (claims, sig)), rows, expected);
    }

    /// @notice Every plain batch that ever went through is worth nothing the second time.
    function replay(uint256 seed) external {
        if (replayData.length == 0) return;
        uint256 i = seed % replayData.length;
        _must(replaySender[i], replayData[i], 0);
        checkState(channels);
    }

    // ------------------------------------------------------------------ money out

    function settle(uint256 seed) external {
        Family memory f = families[seed % FAMILIES];
        Totals storage t = totals[f.receiver][f.token];
        uint256 before = ScriptedToken(f.token).balanceOf(f.receiver);
        uint128 owed = t.claimed - t.settled;
        bytes4 expected = owed == 0 ? bytes4(0) : _outwardError(f.token);
        if (expected == 0) t.settled = t.claimed;
        _must(thief, abi.encodeCall(channels.settle, (f.receiver, f.token)), expected);
        if (expected == 0) _paid(f.token, f.receiver, before, owed);
        checkTotals(channels, f.receiver, f.token);
    }

    function initiateWithdraw(uint256 seed, uint128 amount) external {
        uint256 channel = seed % CHANNELS;
        Channel storage c = model[channel];
        address sender = _owner(seed, channel);
        amount = uint128(bound(amount, 0, uint256(available(channel)) + 2));
        bytes4 expected;
        if (!_owns(sender, channel)) expected = ISessionChannels.InvalidChannel.selector;
        else if (amount == 0) expected = ISessionChannels.NothingToWithdraw.selector;
        else if (c.pendingSince != 0) expected = ISessionChannels.WithdrawalAlreadyPending.selector;
        else if (amount > available(channel)) expected = ISessionChannels.WithdrawAmountExceedsAvailable.selector;
        else (c.pending, c.pendingSince) = (amount, uint40(block.timestamp));
        _must(sender, abi.encodeCall(channels.initiateWithdraw, (configOf(channel), amount)), expected);
        checkChannel(channels, channel);
    }

    /// @notice By the payer's consent, whoever sends it: as much as is there, and each consent once.
    function initiateWithdrawWithSignature(uint256 seed, uint128 amount) external {
        uint256 channel = seed % CHANNELS;
        Channel storage c = model[channel];
        bytes memory data = _consentCall(channel, amount, seed % 7 == 0, seed % 11 == 0);
        bytes4 expected;
        if (seed % 11 == 0) expected = ISessionChannels.WithdrawRequestExpired.selector;
        else if (seed % 7 == 0) expected = ISessionChannels.InvalidSignature.selector;
        else if (c.pendingSince != 0) expected = ISessionChannels.WithdrawalAlreadyPending.selector;
        else if (amount == 0 || available(channel) == 0) expected = ISessionChannels.NothingToWithdraw.selector;
        else {
            (c.pending, c.pendingSince) =
                (amount < available(channel) ? amount : available(channel), uint40(block.timestamp));
        }
        _must(thief, data, expected);
        if (expected == 0) _must(thief, data, ISessionChannels.WithdrawRequestUsed.selector);
        checkChannel(channels, channel);
    }

    function _consentCall(uint256 channel, uint128 amount, bool forged, bool late) private returns (bytes memory) {
        // Every consent is another: its deadline numbers it.
        uint256 deadline = late ? block.timestamp - 1 : type(uint256).max - consents++;
        uint256 kind = channel % KINDS;
        bool wallet = kind == KIND_WALLET || kind == KIND_WALLET_SEPARATE_KEY;
        uint256 key = wallet ? WALLET_KEY : kind == KIND_OTHER_PAYER ? OTHER_PAYER_KEY : PAYER_KEY;
        bytes32 digest = Digests.withdrawRequest(address(channels), idOf(channels, channel), amount, deadline);
        bytes memory sig = signature(forged ? THIEF_KEY : key, digest);
        return
            abi.encodeCall(channels.initiateWithdrawWithSignature, (configOf(channel), amount, deadline, sig));
    }

    function cancelWithdraw(uint256 seed) external {
        uint256 channel = seed % CHANNELS;
        Channel storage c = model[channel];
        address sender = _owner(seed, channel);
        bytes4 expected;
        if (sender != configOf(channel).payer) expected = ISessionChannels.NotPayer.selector;
        else if (c.pendingSince == 0) expected = ISessionChannels.WithdrawalNotPending.selector;
        else (c.pending, c.pendingSince) = (0, 0);
        _must(sender, abi.encodeCall(channels.cancelWithdraw, (configOf(channel))), expected);
        checkChannel(channels, channel);
    }

    function finalizeWithdraw(uint256 seed) external {
        uint256 channel = seed % CHANNELS;
        Channel storage c = model[channel];
        address sender = _owner(seed, channel);
        ISessionChannels.ChannelConfig memory config = configOf(channel);
        uint256 before = ScriptedToken(config.token).balanceOf(config.payer);
        uint128 paid = c.pending < available(channel) ? c.pending : available(channel);
        bytes4 expected;
        if (!_owns(sender, channel)) expected = ISessionChannels.NotAuthorizedToFinalizeWithdraw.selector;
        else if (c.pendingSince == 0) expected = ISessionChannels.WithdrawalNotPending.selector;
        else if (block.timestamp < uint256(c.pendingSince) + config.withdrawDelay) {
            expected = ISessionChannels.WithdrawDelayNotElapsed.selector;
        } else if (paid > 0) {
            expected = _outwardError(config.token);
        }
        if (expected == 0) {
            c.balance -= paid;
            (c.pending, c.pendingSince) = (0, 0);
        }
        _must(sender, abi.encodeCall(channels.finalizeWithdraw, (config)), expected);
        if (expected == 0) _paid(config.token, config.payer, before, paid);
        checkChannel(channels, channel);
    }

    function refund(uint256 seed, uint128 amount) external {
        uint256 channel = seed % CHANNELS;
        address sender = _claimant(seed, channel / KINDS);
        amount = uint128(bound(amount, 0, uint256(available(channel)) + 2));
        bytes4 expected;
        if (!_mayClaim(sender, channel / KINDS)) expected = ISessionChannels.NotAuthorizedToRefund.selector;
        _refund(channel, amount, sender, expected, abi.encodeCall(channels.refund, (configOf(channel), amount)));
    }

    function refundWithSignature(uint256 seed, uint128 amount) external {
        uint256 channel = seed % CHANNELS;
        amount = uint128(bound(amount, 1, uint256(available(channel)) + 2));
        uint256 nonce = model[channel].refundNonce + (seed % 11 == 0 ? 1 : 0);
        uint256 key = seed % 7 == 0 ? THIEF_KEY : familyOf(channel).authorizerKey;
        bytes memory sig =
            signature(key, Digests.refund(address(channels), idOf(channels, channel), nonce, amount));
        bytes4 expected;
        if (seed % 11 == 0) expected = ISessionChannels.InvalidRefundNonce.selector;
        else if (seed % 7 == 0) expected = ISessionChannels.InvalidSignature.selector;
        bytes memory data = abi.encodeCall(channels.refundWithSignature, (configOf(channel), amount, nonce, sig));
        _refund(channel, amount, thief, expected, data);
        if (expected == 0 && model[channel].refundNonce == nonce + 1) {
            _must(thief, data, ISessionChannels.InvalidRefundNonce.selector);
        }
    }

    // ------------------------------------------------------------------ the world around

    function warp(uint256 by) external {
        vm.warp(block.timestamp + bound(by, 1, 31 days));
    }

    /// @notice The second token changes its manners: fee on transfer, no return data, paused.
    function setToken(uint256 seed) external {
        ScriptedToken.Mode[5] memory modes = [
            ScriptedToken.Mode.Honest,
            ScriptedToken.Mode.Honest,
            ScriptedToken.Mode.FeeOnTransfer,
            ScriptedToken.Mode.NoReturnData,
            ScriptedToken.Mode.Paused
        ];
        other.setMode(modes[seed % 5]);
    }

    // ------------------------------------------------------------------ what must always hold

    function checkSolvent() external view {
        _checkSolvent(honest);
        _checkSolvent(other);
    }

    /// @dev Outward fees fall on whoever is paid, so even a token that takes them leaves the contract exactly solvent.
    function _checkSolvent(ScriptedToken token) private view {
        uint256 owed;
        uint256 channelClaims;
        for (uint256 i = 0; i < CHANNELS; i++) {
            if (familyOf(i).token != address(token)) continue;
            (uint128 balance, uint128 claimed) = channels.channels(idOf(channels, i));
            owed += balance - claimed;
            channelClaims += claimed;
        }
        uint256 receiverClaims;
        address[2] memory receivers = [vm.addr(RECEIVER_KEY), vm.addr(OTHER_RECEIVER_KEY)];
        for (uint256 i = 0; i < 2; i++) {
            (uint128 claimed, uint128 settled) = channels.receivers(receivers[i], address(token));
            owed += claimed - settled;
            receiverClaims += claimed;
        }
        vm.assertEq(channelClaims, receiverClaims, "sum of channel claims = receiver totals");
        vm.assertEq(token.balanceOf(address(channels)), owed + surplus[address(token)], "solvent");
    }

    function checkVouchers() external {
        for (uint256 i = 0; i < CHANNELS; i++) {
            (uint128 balance, uint128 claimed) = channels.channels(idOf(channels, i));
            vm.assertLe(claimed, balance, "claimed <= balance");
            vm.assertLe(claimed, model[i].signed, "claimed <= signed");
            vm.assertGe(claimed, model[i].highWater, "claimed never falls");
            model[i].highWater = claimed;
        }
    }

    function checkModel() external view {
        checkState(channels);
    }

    // ------------------------------------------------------------------ inside

    function _must(address sender, bytes memory data, bytes4 expected) private {
        vm.prank(sender);
        (bool ok, bytes memory result) = address(channels).call(data);
        vm.assertEq(bytes32(errorOf(result)), bytes32(expected), "error");
        vm.assertEq(ok, expected == 0, "success");
        if (ok) effects[msg.sig]++;
    }

    function _claim(address sender, bytes memory data, Row[] memory rows, bytes4 expected) private {
        _must(sender, data, expected);
        // A claimAndSettle that is sent again may settle what others claimed since.
        if (expected == 0 && msg.sig != Handler.claimAndSettle.selector) {
            replayData.push(data);
            replaySender.push(sender);
        }
        for (uint256 i = 0; i < rows.length; i++) {
            checkChannel(channels, rows[i].channel);
        }
        for (uint256 i = 0; i < FAMILIES; i++) {
            checkTotals(channels, families[i].receiver, families[i].token);
        }
    }

    function _refund(uint256 channel, uint128 amount, address sender, bytes4 expected, bytes memory data) private {
        Channel storage c = model[channel];
        ISessionChannels.ChannelConfig memory config = configOf(channel);
        uint256 before = ScriptedToken(config.token).balanceOf(config.payer);
        uint128 paid = amount < available(channel) ? amount : available(channel);
        if (expected == 0 && amount == 0) expected = ISessionChannels.ZeroRefund.selector;
        if (expected == 0 && paid > 0) expected = _outwardError(config.token);
        if (expected == 0) {
            c.refundNonce++;
            c.balance -= paid;
            if (c.pendingSince != 0) {
                c.pending = c.pending > paid ? c.pending - paid : 0;
                if (c.pending == 0) c.pendingSince = 0;
            }
        }
        _must(sender, data, expected);
        if (expected == 0) _paid(config.token, config.payer, before, paid);
        checkChannel(channels, channel);
    }

    function _paid(address token, address to, uint256 before, uint128 amount) private view {
        uint256 fee = ScriptedToken(token).mode() == ScriptedToken.Mode.FeeOnTransfer ? (uint256(amount) + 99) / 100 : 0;
        vm.assertEq(ScriptedToken(token).balanceOf(to), before + amount - fee, "paid");
    }

    function _inwardError(address token) private view returns (bytes4) {
        ScriptedToken.Mode mode = ScriptedToken(token).mode();
        if (mode == ScriptedToken.Mode.Paused) return ScriptedToken.EnforcedPause.selector;
        if (mode == ScriptedToken.Mode.FeeOnTransfer) return ISessionChannels.DepositCollectionFailed.selector;
        return 0;
    }

    function _outwardError(address token) private view returns (bytes4) {
        return ScriptedToken(token).mode() == ScriptedToken.Mode.Paused ? ScriptedToken.EnforcedPause.selector : bytes4(0);
    }

    function _unauthorized() private pure returns (bytes4) {
        return ISessionChannels.NotAuthorizedToClaim.selector;
    }

    function _owner(uint256 seed, uint256 channel) private view returns (address) {
        ISessionChannels.ChannelConfig memory c = configOf(channel);
        uint256 who = (seed >> 16) % 8;
        if (who == 0) return c.receiver;
        if (who == 1) return thief;
        if (who < 4 && c.payerAuthorizer != address(0)) return c.payerAuthorizer;
        return c.payer;
    }

    function _owns(address sender, uint256 channel) private view returns (bool) {
        ISessionChannels.ChannelConfig memory c = configOf(channel);
        return sender == c.payer || sender == c.payerAuthorizer;
    }

    function _claimant(uint256 seed, uint256 family) private view returns (address) {
        uint256 who = (seed >> 16) % 8;
        if (who == 0) return vm.addr(PAYER_KEY);
        if (who == 1) return thief;
        return who < 5 ? families[family].receiver : families[family].receiverAuthorizer;
    }

    function _mayClaim(address sender, uint256 family) private view returns (bool) {
        return sender == families[family].receiver || sender == families[family].receiverAuthorizer;
    }

    /// @notice Rows of one family, good and bad, and often of the same channel twice. Notes what the payers sign.
    function _rows(uint256 seed, uint256 family, uint256 count) private returns (Row[] memory rows) {
        rows = new Row[](count);
        for (uint256 i = 0; i < count; i++) {
            uint256 rowSeed = random(seed, i);
            uint256 channel = family * KINDS + (i > 0 && rowSeed % 3 == 0 ? rows[0].channel % KINDS : rowSeed % KINDS);
            rows[i] = randomRow(rowSeed, channel);
            _noteSigned(rows[i]);
        }
    }

    function _noteSigned(Row memory row) private {
        if (row.forgery == Forgery.OtherChannel) {
            _signed((row.channel + KINDS) % CHANNELS, row.ceiling);
        } else if (row.forgery == Forgery.OtherCeiling) {
            _signed(row.channel, row.ceiling ^ 1);
        } else if (row.forgery == Forgery.None || row.forgery == Forgery.HighS) {
            _signed(row.channel, row.ceiling);
        }
    }

    function _signed(uint256 channel, uint128 ceiling) private {
        if (ceiling > model[channel].signed) model[channel].signed = ceiling;
    }

    function _pack(Row[] memory rows, uint256 seed) private view returns (bytes memory packed) {
        for (uint256 i = 0; i < rows.length; i++) {
            packed = bytes.concat(packed, packedRow(channels, rows[i], random(seed, 1000 + i)));
        }
    }

    function _batchSignature(ISessionChannels.VoucherClaim[] memory claims, uint256 family, bool forged)
        private
        view
        returns (bytes memory)
    {
        uint256 key = forged ? THIEF_KEY : families[family].authorizerKey;
        return signature(key, Digests.claimBatch(address(channels), claims));
    }

    /// @notice Applies a whole plain batch to the model, or nothing of it.
    /// @param denied The error that stops the batch before its rows are looked at, or zero.
    function _claimError(Row[] memory rows, bytes4 denied) private returns (bytes4) {
        if (rows.length == 0) return ISessionChannels.EmptyBatch.selector;
        if (denied != 0) return denied;
        uint128[] memory deltas = new uint128[](rows.length);
        for (uint256 i = 0; i < rows.length; i++) {
            ISessionChannels.RowStatus status = expectedStatus(rows[i], false);
            if (status == ISessionChannels.RowStatus.Claimed) deltas[i] = applyClaim(rows[i]);
            bytes4 refused = errorFor(channels, rows[i], status);
            if (refused == 0) continue;
            for (uint256 k = 0; k < i; k++) {
                Family memory f = familyOf(rows[k].channel);
                model[rows[k].channel].claimed -= deltas[k];
                totals[f.receiver][f.token].claimed -= deltas[k];
            }
            return refused;
        }
        return 0;
    }

    function _applyPacked(Row[] memory rows) private returns (bytes memory results, uint128 sum) {
        for (uint256 i = 0; i < rows.length; i++) {
            ISessionChannels.RowStatus status = expectedStatus(rows[i], true);
            uint128 delta = status == ISessionChannels.RowStatus.Claimed ? applyClaim(rows[i]) : 0;
            sum += delta;
            results = abi.encodePacked(
                results, uint8(status), idOf(channels, rows[i].channel), delta, model[rows[i].channel].claimed
            );
        }
    }

    function _concat(Row[] memory a, Row[] memory b) private pure returns (Row[] memory all) {
        all = new Row[](a.length + b.length);
        for (uint256 i = 0; i < all.length; i++) {
            all[i] = i < a.length ? a[i] : b[i - a.length];
        }
    }
}
