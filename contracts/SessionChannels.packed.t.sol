// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {ISessionChannels} from "./interfaces/ISessionChannels.sol";
import {ChannelsApi} from "./test-support/ChannelsApi.sol";
import {Model} from "./test-support/Model.sol";
import {PackedRows} from "./test-support/PackedRows.sol";
import {Vm} from "./test-support/Vm.sol";

/// @notice claimPacked against claim: the same rows, the same outcome, row by row.
contract SessionChannelsPackedTest is Model {
    /// Bytes of one row's entry in PackedClaimed.results.
    uint256 private constant RESULT_BYTES = 65;

    ChannelsApi private packed;
    ChannelsApi private plain;

    function setUp() public {
        buildWorld();
        packed = deployChannels();
        plain = deployChannels();
    }

    // ------------------------------------------------------------------ differential

    /// @notice Two deployments live through the same history; one claims packed, the other row by row. Every status, every
    /// amount and every word of state must agree.
    function testFuzz_packedAgreesWithPlain(uint256 seed) public {
        for (uint256 step = 0; step < 5; step++) {
            uint256 stepSeed = random(seed, step);
            _changeBalances(stepSeed);
            _claimOnBoth(random(stepSeed, "claim"));
            _compareTwins();
        }
    }

    /// @dev Deposits, refunds and withdrawals of the same amounts on both sides.
    function _changeBalances(uint256 seed) private {
        for (uint256 i = 0; i < 4; i++) {
            uint256 channel = random(seed, i) % CHANNELS;
            // Narrow amounts and amounts beyond 64 bits.
            uint128 amount = uint128(1 + (seed % 3 == 0 ? uint128(seed) >> 8 : uint128(seed) % 1e9));
            depositTo(packed, channel, amount);
            depositTo(plain, channel, amount);
            model[channel].balance += amount;
        }
        uint256 drained = random(seed, "drained") % CHANNELS;
        uint128 left = available(drained);
        if (left == 0) return;
        uint128 back = uint128(bound(seed, 1, left));
        model[drained].balance -= back;
        address receiver = familyOf(drained).receiver;
        vm.prank(receiver);
        packed.refund(configOf(drained), back);
        vm.prank(receiver);
        plain.refund(configOf(drained), back);
    }

    function _claimOnBoth(uint256 seed) private {
        uint256 groupCount = 1 + seed % 3;
        ISessionChannels.PackedGroup[] memory groups = new ISessionChannels.PackedGroup[](groupCount);
        Row[][] memory rows = new Row[][](groupCount);
        for (uint256 g = 0; g < groupCount; g++) {
            uint256 groupSeed = random(seed, g);
            uint256 family = groupSeed % FAMILIES;
            rows[g] = _randomRows(groupSeed, family);
            bytes memory bytes_;
            for (uint256 i = 0; i < rows[g].length; i++) {
                bytes_ = bytes.concat(bytes_, packedRow(packed, rows[g][i], random(groupSeed, 100 + i)));
            }
            groups[g] = groupOf(family, bytes_, bytes32(groupSeed));
            authorize(packed, family, groups[g]);
        }

        vm.recordLogs();
        packed.claimPacked(groups);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, groupCount, "one event a group and none a row");
        for (uint256 g = 0; g < groupCount; g++) {
            (bytes memory results, uint128 sum) = _claimPlainly(rows[g]);
            _checkEvent(logs[g], groups[g], results, sum);
        }
        for (uint256 g = 0; g < groupCount; g++) {
            _claimWhatPackedLeaves(rows[g]);
        }
    }

    function _randomRows(uint256 seed, uint256 family) private view returns (Row[] memory rows) {
        rows = new Row[](1 + seed % 5);
        for (uint256 i = 0; i < rows.length; i++) {
            uint256 rowSeed = random(seed, i);
            uint256 channel = family * KINDS + rowSeed % KINDS;
            if (i > 0 && rowSeed % 3 == 0) channel = rows[i - 1].channel;
            rows[i] = randomRow(rowSeed, channel);
        }
    }

    /// @notice Claims the rows one at a time on the plain side, and writes down what claimPacked must have reported.
    /// @dev claimPacked leaves rows without a payerAuthorizer to claim: those are only tried here, and claimed later.
    function _claimPlainly(Row[] memory rows) private returns (bytes memory results, uint128 sum) {
        for (uint256 i = 0; i < rows.length; i++) {
            bool unsupported = _leftToClaim(rows[i]);
            uint256 start = unsupported ? vm.snapshotState() : 0;
            (ISessionChannels.RowStatus status, uint128 delta) = _claimOneRow(plain, rows[i]);
            if (unsupported) {
                vm.revertToState(start);
                delta = 0;
                if (status == ISessionChannels.RowStatus.Claimed || status == ISessionChannels.RowStatus.InvalidSignature) {
                    status = ISessionChannels.RowStatus.ContractSignatureUnsupported;
                }
            }
            sum += delta;
            results = abi.encodePacked(
                results, uint8(status), idOf(packed, rows[i].channel), delta, model[rows[i].channel].claimed
            );
        }
    }

    function _claimWhatPackedLeaves(Row[] memory rows) private {
        for (uint256 i = 0; i < rows.length; i++) {
            if (!_leftToClaim(rows[i])) continue;
            (ISessionChannels.RowStatus a, uint128 deltaA) = _claimOneRow(plain, rows[i]);
            (ISessionChannels.RowStatus b, uint128 deltaB) = _claimOneRow(packed, rows[i]);
            vm.assertEq(uint8(a), uint8(b), "status on both sides");
            vm.assertEq(deltaA, deltaB, "delta on both sides");
        }
    }

    function _leftToClaim(Row memory row) private view returns (bool) {
        return configOf(row.channel).payerAuthorizer == address(0);
    }

    function _claimOneRow(ChannelsApi target, Row memory row)
        private
        returns (ISessionChannels.RowStatus status, uint128 delta)
    {
        (, uint128 before) = target.channels(idOf(target, row.channel));
        vm.prank(familyOf(row.channel).receiver);
        (bool ok, bytes memory result) =
            address(target).call(abi.encodeCall(target.claim, (one(plainRow(target, row)))));
        if (!ok) return (_statusOf(errorOf(result)), 0);
        (, uint128 afterwards) = target.channels(idOf(target, row.channel));
        delta = afterwards - before;
        if (address(target) == address(plain)) model[row.channel].claimed = afterwards;
        status = delta == 0 ? ISessionChannels.RowStatus.NothingNew : ISessionChannels.RowStatus.Claimed;
    }

    function _statusOf(bytes4 refusal) private pure returns (ISessionChannels.RowStatus) {
        if (refusal == ISessionChannels.ClaimExceedsCeiling.selector) return ISessionChannels.RowStatus.ExceedsCeiling;
        if (refusal == ISessionChannels.ClaimExceedsBalance.selector) return ISessionChannels.RowStatus.ExceedsBalance;
        bool signature = refusal == ISessionChannels.InvalidSignature.selector
            || refusal == ECDSA.ECDSAInvalidSignature.selector || refusal == ECDSA.ECDSAInvalidSignatureS.selector;
        vm.assertTrue(signature, "claim refused a row with an error of its own");
        return ISessionChannels.RowStatus.InvalidSignature;
    }

    function _checkEvent(
        Vm.Log memory log,
        ISessionChannels.PackedGroup memory group,
        bytes memory results,
        uint128 sum
    ) private view {
        vm.assertEq(log.topics.length, 4, "topics");
        vm.assertEq(log.topics[0], ISessionChannels.PackedClaimed.selector, "event");
        vm.assertEq(log.topics[1], bytes32(uint256(uint160(group.receiver))), "receiver");
        vm.assertEq(log.topics[2], bytes32(uint256(uint160(group.token))), "token");
        vm.assertEq(log.topics[3], bytes32(uint256(uint160(address(this)))), "sender");
        bytes memory expected =
            abi.encode(group.receiverAuthorizer, group.withdrawDelay, group.receiptsRoot, sum, results);
        vm.assertEq(log.data, expected, "PackedClaimed");
    }

    function _compareTwins() private view {
        for (uint256 i = 0; i < CHANNELS; i++) {
            (uint128 a, uint128 b) = packed.channels(idOf(packed, i));
            (uint128 c, uint128 d) = plain.channels(idOf(plain, i));
            vm.assertEq(a, c, "balance");
            vm.assertEq(b, d, "totalClaimed");
            vm.assertEq(c, model[i].balance, "model balance");
            vm.assertEq(d, model[i].claimed, "model claimed");
        }
        for (uint256 i = 0; i < FAMILIES; i++) {
            (uint128 a, uint128 b) = packed.receivers(families[i].receiver, families[i].token);
            (uint128 c, uint128 d) = plain.receivers(families[i].receiver, families[i].token);
            vm.assertEq(a, c, "receiver claimed");
            vm.assertEq(b, d, "receiver settled");
        }
    }

    // ------------------------------------------------------------------ order and grouping

    /// @notice The same rows in another order and cut into other groups end in the same state, also by the plain path.
    function testFuzz_orderAndGroupingDoNotMatter(uint256 seed) public {
        for (uint256 i = 0; i < CHANNELS; i++) {
            model[i].balance = uint128(1 + random(seed, i) % 1e6);
            depositTo(packed, i, model[i].balance);
        }
        Row[] memory rows = new Row[](12);
        for (uint256 i = 0; i < rows.length; i++) {
            uint256 channel = random(seed, 50 + i) % CHANNELS;
            if (i > 0 && random(seed, 70 + i) % 3 == 0) channel = rows[i - 1].channel;
            rows[i] = randomRow(random(seed, 90 + i), channel);
        }

        uint256 start = vm.snapshotState();
        packed.claimPacked(_groupsOf(rows, 1));
        bytes32 expected = stateHash(packed);
        for (uint256 round = 0; round < 4; round++) {
            vm.revertToState(start);
            start = vm.snapshotState();
            packed.claimPacked(_groupsOf(_shuffled(rows, random(seed, 200 + round)), 1 + round));
            vm.assertEq(stateHash(packed), expected, "order or grouping changed the state");
        }

        vm.revertToState(start);
        Row[] memory shuffled = _shuffled(rows, random(seed, "plain"));
        for (uint256 i = 0; i < shuffled.length; i++) {
            if (!_leftToClaim(shuffled[i])) _claimOneRow(packed, shuffled[i]);
        }
        vm.assertEq(stateHash(packed), expected, "plain rows ended in another state");
    }

    /// @dev Consecutive rows of one family share a group, up to `most` of them.
    function _groupsOf(Row[] memory rows, uint256 most) private view returns (ISessionChannels.PackedGroup[] memory) {
        ISessionChannels.PackedGroup[] memory groups = new ISessionChannels.PackedGroup[](rows.length);
        uint256 count;
        uint256 i;
        while (i < rows.length) {
            uint256 family = rows[i].channel / KINDS;
            bytes memory bytes_;
            uint256 first = i;
            while (i < rows.length && i - first < most && rows[i].channel / KINDS == family) {
                bytes_ = bytes.concat(bytes_, packedRow(packed, rows[i], 0));
                i++;
            }
            groups[count] = groupOf(family, bytes_, 0);
            authorize(packed, family, groups[count]);
            count++;
        }
        assembly {
            mstore(groups, count)
        }
        return groups;
    }

    function _shuffled(Row[] memory rows, uint256 seed) private pure returns (Row[] memory shuffled) {
        shuffled = new Row[](rows.length);
        for (uint256 i = 0; i < rows.length; i++) {
            shuffled[i] = rows[i];
        }
        for (uint256 i = rows.length - 1; i > 0; i--) {
            uint256 j = random(seed, i) % (i + 1);
            (shuffled[i], shuffled[j]) = (shuffled[j], shuffled[i]);
        }
    }

    // ------------------------------------------------------------------ the form of rows

    /// @notice A row cut short anywhere reverts the whole call and names the place where that row starts.
    function testFuzz_truncatedRow(uint256 seed, uint8 form) public {
        Row memory good = _fundedRow(seed);
        bytes memory whole = packedRow(packed, good, form);
        bytes memory two = bytes.concat(whole, packedRow(packed, good, form >> 4));
        uint256 length = bound(seed, 1, two.length - 1);
        if (length == whole.length) return;
        uint256 offset = length < whole.length ? 0 : whole.length;
        assembly {
            mstore(two, length)
        }
        _expectMalformed(good.channel / KINDS, whole, two, offset);
    }

    /// @notice Any of the four unused flag bits is refused, with the same answer.
    function testFuzz_unknownFlags(uint256 seed, uint8 flags) public {
        Row memory good = _fundedRow(seed);
        bytes memory whole = packedRow(packed, good, 0);
        bytes memory odd = packedRow(packed, good, flags);
        odd[0] = bytes1(uint8(odd[0]) | uint8(bound(flags >> 4, 1, 15) << 4));
        _expectMalformed(good.channel / KINDS, whole, bytes.concat(whole, odd), whole.length);
    }

    /// @dev Puts the bad rows behind a good group: nothing of either may stand.
    function _expectMalformed(uint256 family, bytes memory goodRow, bytes memory badRows, uint256 offset) private {
        ISessionChannels.PackedGroup[] memory groups = new ISessionChannels.PackedGroup[](2);
        groups[0] = groupOf(family, goodRow, 0);
        groups[1] = groupOf(family, badRows, 0);
        bytes32 before = stateHash(packed);
        vm.prank(families[family].receiver);
        vm.expectRevert(abi.encodeWithSelector(ISessionChannels.MalformedPackedRow.selector, 1, offset));
        packed.claimPacked(groups);
        vm.assertEq(stateHash(packed), before, "a malformed group moved something");
    }

    function _fundedRow(uint256 seed) private returns (Row memory) {
        uint256 channel = seed % CHANNELS;
        uint128 amount = uint128(bound(seed >> 8, 1, type(uint128).max));
        depositTo(packed, channel, amount);
        return Row(channel, amount, amount, Forgery.None);
    }

    /// @notice Rows of noise claim nothing: they are malformed, or every row of them is skipped.
    function testFuzz_noiseClaimsNothing(bytes calldata noise, uint256 seed) public {
        Row memory good = _fundedRow(seed);
        bytes32 before = stateHash(packed);
        ISessionChannels.PackedGroup memory group = groupOf(good.channel / KINDS, noise, 0);
        vm.prank(group.receiver);
        (bool ok, bytes memory result) = address(packed).call(abi.encodeCall(packed.claimPacked, (one(group))));
        bytes4 expected =
            noise.length == 0 ? ISessionChannels.EmptyBatch.selector : ISessionChannels.MalformedPackedRow.selector;
        if (!ok) vm.assertEq(bytes32(errorOf(result)), bytes32(expected), "error");
        vm.assertEq(stateHash(packed), before, "noise moved something");
    }

    /// @notice A good row with any one bit of it flipped never claims: each bit means something.
    function testFuzz_everyBitCounts(uint256 seed, uint256 bit) public {
        uint256 channel = (seed % FAMILIES) * KINDS + 1;
        depositTo(packed, channel, 1e18);
        bytes memory row = packedRow(packed, Row(channel, 1e9, 1e9 - 1, Forgery.None), 0);
        bit = bit % (row.length * 8);
        row[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        bytes32 before = stateHash(packed);
        ISessionChannels.PackedGroup memory group = groupOf(channel / KINDS, row, 0);
        vm.prank(group.receiver);
        (bool ok,) = address(packed).call(abi.encodeCall(packed.claimPacked, (one(group))));
        // The one field a receiver may choose is totalClaimed: bytes 1+20+20+32+8 to +8.
        if (bit / 8 >= 81 && bit / 8 < 89 && ok) {
            (, uint128 claimed) = packed.channels(idOf(packed, channel));
            vm.assertLe(claimed, 1e9, "above the voucher");
            return;
        }
        vm.assertEq(stateHash(packed), before, "a changed row claimed");
    }

    /// @notice A group's terms are part of every channel id in it: with other terms its rows claim nothing.
    function testFuzz_groupTermsBindRows(uint256 seed) public {
        Row memory good = _fundedRow(seed);
        ISessionChannels.PackedGroup memory group = groupOf(good.channel / KINDS, packedRow(packed, good, 0), 0);
        if (seed % 4 == 0) group.receiver = thief;
        if (seed % 4 == 1) group.receiverAuthorizer = thief;
        if (seed % 4 == 2) (group.token, group.receiverAuthorizer) = (thief, thief);
        if (seed % 4 == 3) (group.withdrawDelay, group.receiverAuthorizer) = (group.withdrawDelay + 1, thief);
        bytes32 before = stateHash(packed);
        vm.prank(thief);
        packed.claimPacked(one(group));
        vm.assertEq(stateHash(packed), before, "other terms claimed");
    }

    // ------------------------------------------------------------------ who may claim

    /// @notice The receiverAuthorizer's signature covers every field of the group.
    function testFuzz_authorizationCoversGroup(uint256 seed) public {
        Row memory good = _fundedRow(seed);
        uint256 family = good.channel / KINDS;
        ISessionChannels.PackedGroup memory group = groupOf(family, packedRow(packed, good, 0), bytes32(seed));
        authorize(packed, family, group);
        uint256 start = vm.snapshotState();
        packed.claimPacked(one(group));
        vm.revertToState(start);

        uint256 field = (seed >> 8) % 6;
        if (field == 0) group.receiver = thief;
        if (field == 1) group.token = thief;
        if (field == 2) group.withdrawDelay ^= 1;
        if (field == 3) group.receiptsRoot = bytes32(seed ^ 1);
        if (field == 4) group.rows[0] ^= 0x08;
        if (field == 5) group.authorization[10] ^= 0x01;
        vm.expectRevert(ISessionChannels.InvalidSignature.selector);
        packed.claimPacked(one(group));
    }

    /// @notice An authorization for one contract is nothing to its twin.
    function test_authorizationBindsContract() public {
        Row memory good = _fundedRow(0);
        ISessionChannels.PackedGroup memory group = groupOf(0, packedRow(packed, good, 0), 0);
        authorize(plain, 0, group);
        vm.expectRevert(ISessionChannels.InvalidSignature.selector);
        packed.claimPacked(one(group));
    }

    function test_strangerWithoutAuthorization() public {
        Row memory good = _fundedRow(0);
        vm.prank(thief);
        vm.expectRevert(ISessionChannels.NotAuthorizedToClaim.selector);
        packed.claimPacked(one(groupOf(0, packedRow(packed, good, 0), 0)));
    }

    /// @notice One group that is not allowed takes the allowed ones with it.
    function test_oneForeignGroupRevertsAll() public {
        Row memory good = _fundedRow(0);
        ISessionChannels.PackedGroup[] memory groups = new ISessionChannels.PackedGroup[](2);
        groups[0] = groupOf(0, packedRow(packed, good, 0), 0);
        groups[1] = groupOf(3, packedRow(packed, good, 0), 0);
        bytes32 before = stateHash(packed);
        vm.prank(families[0].receiver);
        vm.expectRevert(ISessionChannels.NotAuthorizedToClaim.selector);
        packed.claimPacked(groups);
        vm.assertEq(stateHash(packed), before, "state");
    }

    function test_emptyBatches() public {
        vm.expectRevert(ISessionChannels.EmptyBatch.selector);
        packed.claimPacked(new ISessionChannels.PackedGroup[](0));
        vm.prank(families[0].receiver);
        vm.expectRevert(ISessionChannels.EmptyBatch.selector);
        packed.claimPacked(one(groupOf(0, "", 0)));
    }

    // ------------------------------------------------------------------ edges

    /// @notice A receiver's total that would pass uint128 is a skipped row here and a reverted batch there; never a wrap.
    function test_receiverTotalNeverWraps() public {
        uint128 max = type(uint128).max;
        (uint256 a, uint256 b) = (KIND_OWN_KEY, KIND_SALT);
        depositTo(packed, a, max);
        depositTo(packed, b, max);
        Row memory first = Row(a, max, max, Forgery.None);
        Row memory second = Row(b, max, 1, Forgery.None);
        bytes memory rows = bytes.concat(packedRow(packed, first, 0), packedRow(packed, second, 0));
        vm.recordLogs();
        vm.prank(families[0].receiver);
        packed.claimPacked(one(groupOf(0, rows, 0)));
        (,,, uint128 sum, bytes memory results) =
            abi.decode(vm.getRecordedLogs()[0].data, (address, uint40, bytes32, uint128, bytes));
        vm.assertEq(sum, max, "sum");
        vm.assertEq(results.length, 2 * RESULT_BYTES, "results");
        uint256 overflow = uint256(ISessionChannels.RowStatus.ReceiverTotalOverflow);
        vm.assertEq(uint8(results[RESULT_BYTES]), overflow, "status");

        vm.prank(families[0].receiver);
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        packed.claim(one(plainRow(packed, second)));
        (uint128 claimed,) = packed.receivers(families[0].receiver, families[0].token);
        vm.assertEq(claimed, max, "receiver total");
    }

    /// @notice The zero address signs nothing, although a failed ecrecover gives it.
    function testFuzz_zeroAuthorizerIsNobody(uint256 seed, bytes32 r, bytes32 vs) public {
        uint256 channel = (seed % FAMILIES) * KINDS + (seed % 2 == 0 ? KIND_ZERO_AUTHORIZER : KIND_WALLET);
        depositTo(packed, channel, 1e6);
        ISessionChannels.ChannelConfig memory c = configOf(channel);
        PackedRows.Row memory row = PackedRows.Row(c.payer, address(0), c.salt, 1e6, 1e6, r, vs);
        _expectSkipped(channel, PackedRows.encode(row, 0), ISessionChannels.RowStatus.ContractSignatureUnsupported);
    }

    /// @notice So is a zero payer: its channel holds nothing and never can.
    function testFuzz_zeroPayerIsNobody(uint256 seed, bytes32 r, bytes32 vs) public {
        PackedRows.Row memory row = PackedRows.Row(address(0), address(0), bytes32(seed), 1, 1, r, vs);
        bytes memory bytes_ = PackedRows.encode(row, uint8(seed));
        ISessionChannels.PackedGroup memory group = groupOf(seed % FAMILIES, bytes_, 0);
        vm.recordLogs();
        vm.prank(group.receiver);
        packed.claimPacked(one(group));
        (,,, uint128 sum, bytes memory results) =
            abi.decode(vm.getRecordedLogs()[0].data, (address, uint40, bytes32, uint128, bytes));
        vm.assertEq(sum, 0, "sum");
        vm.assertEq(uint8(results[0]), uint256(ISessionChannels.RowStatus.ExceedsBalance), "status");
    }

    /// @notice An EOA with delegated code (EIP-7702) still signs as payerAuthorizer: that check never looks at code.
    function test_delegatedAccountStillSigns() public {
        uint256 channel = KIND_OWN_KEY;
        depositTo(packed, channel, 1e6);
        vm.etch(vm.addr(PAYER_KEY), abi.encodePacked(hex"ef0100", address(payerWallet)));
        vm.prank(families[0].receiver);
        packed.claimPacked(one(groupOf(0, packedRow(packed, Row(channel, 5, 5, Forgery.None), 0), 0)));
        (, uint128 claimed) = packed.channels(idOf(packed, channel));
        vm.assertEq(claimed, 5, "claimed");
    }

    function _expectSkipped(uint256 channel, bytes memory row, ISessionChannels.RowStatus status) private {
        ISessionChannels.PackedGroup memory group = groupOf(channel / KINDS, row, 0);
        bytes32 before = stateHash(packed);
        vm.recordLogs();
        vm.prank(group.receiver);
        packed.claimPacked(one(group));
        bytes memory data = vm.getRecordedLogs()[0].data;
        bytes memory results = abi.encodePacked(uint8(status), idOf(packed, channel), uint128(0), uint128(0));
        bytes memory expected =
            abi.encode(group.receiverAuthorizer, group.withdrawDelay, bytes32(0), uint128(0), results);
        vm.assertEq(data, expected, "PackedClaimed");
        vm.assertEq(stateHash(packed), before, "state");
    }
}
