// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ISessionChannels} from "./interfaces/ISessionChannels.sol";
import {ChannelsApi} from "./test-support/ChannelsApi.sol";
import {Digests} from "./test-support/Digests.sol";
import {ScriptedToken} from "./test-support/Tokens.sol";
import {World} from "./test-support/World.sol";

/// @notice Every amount and every time of SessionChannels over its whole range, one verb at a time.
contract SessionChannelsFuzzTest is World {
    uint128 private constant MAX = type(uint128).max;
    uint40 private constant MIN_DELAY = 15 minutes;
    uint40 private constant MAX_DELAY = 30 days;

    ChannelsApi private channels;
    address private payer;
    address private receiver;

    event ChannelCreated(bytes32 indexed channelId, ISessionChannels.ChannelConfig config);
    event Deposited(bytes32 indexed channelId, address indexed sender, uint128 amount, uint128 newBalance);
    event Claimed(bytes32 indexed channelId, address indexed sender, uint128 claimAmount, uint128 newTotalClaimed);
    event Settled(address indexed receiver, address indexed token, address indexed sender, uint128 amount);
    event WithdrawInitiated(bytes32 indexed channelId, uint128 amount, uint40 finalizeAfter);
    event WithdrawFinalized(bytes32 indexed channelId, address indexed sender, uint128 amount);
    event WithdrawCancelled(bytes32 indexed channelId, uint128 amount);
    event Refunded(bytes32 indexed channelId, address indexed sender, uint128 amount);

    function setUp() public {
        buildWorld();
        channels = deployChannels();
        payer = vm.addr(PAYER_KEY);
        receiver = vm.addr(RECEIVER_KEY);
    }

    function _config(uint40 delay) private view returns (ISessionChannels.ChannelConfig memory config) {
        config = configOf(KIND_OWN_KEY);
        config.withdrawDelay = delay;
    }

    function _id(ISessionChannels.ChannelConfig memory config) private view returns (bytes32) {
        return Digests.channelId(address(channels), config);
    }

    function _deposit(ISessionChannels.ChannelConfig memory config, uint128 amount) private {
        channels.deposit(config, amount, address(collector), "");
    }

    function _claimRow(ISessionChannels.ChannelConfig memory config, uint128 ceiling, uint128 total)
        private
        view
        returns (ISessionChannels.VoucherClaim[] memory)
    {
        bytes memory sig = signature(PAYER_KEY, Digests.voucher(address(channels), _id(config), ceiling));
        return one(ISessionChannels.VoucherClaim(ISessionChannels.Voucher(config, ceiling), sig, total));
    }

    function _claim(ISessionChannels.ChannelConfig memory config, uint128 total) private {
        vm.prank(receiver);
        channels.claim(_claimRow(config, total, total));
    }

    function _expectState(ISessionChannels.ChannelConfig memory config, uint128 balance, uint128 claimed) private view {
        (uint128 b, uint128 c) = channels.channels(_id(config));
        vm.assertEq(b, balance, "balance");
        vm.assertEq(c, claimed, "totalClaimed");
    }

    function _expectPending(ISessionChannels.ChannelConfig memory config, uint128 amount, uint256 since) private view {
        (uint128 a, uint40 s) = channels.pendingWithdrawals(_id(config));
        vm.assertEq(a, amount, "pending amount");
        vm.assertEq(s, since, "pending since");
    }

    function _emits() private {
        vm.expectEmit(true, true, true, true, address(channels));
    }

    // ------------------------------------------------------------------ ids and digests

    function testFuzz_digests(
        ISessionChannels.ChannelConfig calldata config,
        bytes32 id,
        uint128 amount,
        uint256 nonce,
        bytes calldata rows
    ) public view {
        address at_ = address(channels);
        vm.assertEq(channels.getChannelId(config), Digests.channelId(at_, config), "channel id");
        vm.assertEq(channels.getVoucherDigest(id, amount), Digests.voucher(at_, id, amount), "voucher");
        vm.assertEq(channels.getRefundDigest(id, nonce, amount), Digests.refund(at_, id, nonce, amount), "refund");
        ISessionChannels.VoucherClaim[] memory claims = new ISessionChannels.VoucherClaim[](nonce % 4);
        for (uint256 i = 0; i < claims.length; i++) {
            claims[i].voucher.channel = config;
            claims[i].voucher.channel.salt = bytes32(random(nonce, i));
            (claims[i].voucher.maxClaimableAmount, claims[i].totalClaimed) = (amount, uint128(nonce >> 8));
        }
        vm.assertEq(channels.getClaimBatchDigest(claims), Digests.claimBatch(at_, claims), "claim batch");
        ISessionChannels.PackedGroup memory group = ISessionChannels.PackedGroup(
            config.receiver, config.receiverAuthorizer, config.token, config.withdrawDelay, id, rows, rows
        );
        vm.assertEq(channels.getPackedClaimDigest(group), Digests.packedClaim(at_, group), "packed claim");
    }

    /// @notice Bits above an address or a uint40 in raw calldata never reach a channel id: the call is refused.
    function testFuzz_dirtyConfigBitsAreRefused(uint256 field, uint256 dirt) public {
        ISessionChannels.ChannelConfig memory config = _config(MIN_DELAY);
        _deposit(config, 10);
        field = field % 6;
        uint256 width = field == 5 ? 40 : 160;
        dirt = bound(dirt, 1, type(uint256).max >> width) << width;
        bytes memory data = abi.encodeCall(channels.claim, (_claimRow(config, 10, 10)));
        // selector, array offset, length, row offset, then the row: voucher (config first), signature offset, total.
        uint256 position = 4 + 32 * 3 + 32 * field;
        assembly {
            let word := add(add(data, 32), position)
            mstore(word, or(mload(word), dirt))
        }
        vm.prank(receiver);
        (bool ok,) = address(channels).call(data);
        vm.assertTrue(!ok, "dirty config accepted");
        _expectState(config, 10, 0);
    }

    // ------------------------------------------------------------------ deposit

    function testFuzz_depositAndTopUp(uint128 first, uint128 second) public {
        ISessionChannels.ChannelConfig memory config = _config(MIN_DELAY);
        first = uint128(bound(first, 1, MAX));
        second = uint128(bound(second, 0, MAX));
        uint256 before = honest.balanceOf(payer);
        _emits();
        emit ChannelCreated(_id(config), config);
        _emits();
        emit Deposited(_id(config), address(this), first, first);
        _deposit(config, first);

        if (second == 0) {
            vm.expectRevert(ISessionChannels.ZeroDeposit.selector);
        } else if (second > MAX - first) {
            vm.expectRevert(ISessionChannels.DepositOverflow.selector);
        } else {
            _emits();
            emit Deposited(_id(config), address(this), second, first + second);
        }
        _deposit(config, second);
        uint128 expected = second > MAX - first ? first : first + second;
        _expectState(config, expected, 0);
        vm.assertEq(honest.balanceOf(address(channels)), expected, "held");
        vm.assertEq(honest.balanceOf(payer), before - expected, "payer");
    }

    function testFuzz_depositDelay(uint40 delay) public {
        ISessionChannels.ChannelConfig memory config = _config(delay);
        bool inRange = delay >= MIN_DELAY && delay <= MAX_DELAY;
        if (!inRange) vm.expectRevert(ISessionChannels.WithdrawDelayOutOfRange.selector);
        _deposit(config, 1);
        _expectState(config, inRange ? 1 : 0, 0);
    }

    function test_depositDelayEdges() public {
        _deposit(_config(MIN_DELAY), 1);
        _deposit(_config(MAX_DELAY), 1);
        vm.expectRevert(ISessionChannels.WithdrawDelayOutOfRange.selector);
        _deposit(_config(MIN_DELAY - 1), 1);
        vm.expectRevert(ISessionChannels.WithdrawDelayOutOfRange.selector);
        _deposit(_config(MAX_DELAY + 1), 1);
    }

    function test_depositZeroAddresses() public {
        for (uint256 i = 0; i < 4; i++) {
            ISessionChannels.ChannelConfig memory config = _config(MIN_DELAY);
            if (i == 0) config.payer = address(0);
            if (i == 1) config.receiver = address(0);
            if (i == 2) config.receiverAuthorizer = address(0);
            if (i == 3) config.token = address(0);
            vm.expectRevert(ISessionChannels.InvalidChannel.selector);
            _deposit(config, 1);
        }
    }

    function testFuzz_depositCollectorWithoutCode(address nobody) public {
        vm.assume(nobody.code.length == 0);
        vm.expectRevert(ISessionChannels.InvalidCollector.selector);
        channels.deposit(_config(MIN_DELAY), 1, nobody, "");
    }

    /// @notice The built-in path and its validity window: strictly after validAfter, strictly before validBefore.
    function testFuzz_authorisedDeposit(uint128 amount, uint64 validAfter, uint64 validBefore, uint256 salt) public {
        ISessionChannels.ChannelConfig memory config = _config(MIN_DELAY);
        amount = uint128(bound(amount, 1, MAX));
        uint256 window = block.timestamp;
        uint256 from = bound(validAfter, window - 3, window + 3);
        uint256 until = bound(validBefore, window - 3, window + 3);
        bytes memory data =
            authorizationData(PAYER_KEY, config.token, address(channels), _id(config), amount, from, until, salt);
        bool valid = window > from && window < until;
        if (window <= from) vm.expectRevert(ScriptedToken.AuthorizationNotYetValid.selector);
        else if (window >= until) vm.expectRevert(ScriptedToken.AuthorizationExpired.selector);
        channels.deposit(config, amount, address(channels), data);
        _expectState(config, valid ? amount : 0, 0);
        if (!valid) return;
        vm.expectRevert(amount > MAX - amount
                ? ISessionChannels.DepositOverflow.selector
                : ScriptedToken.AuthorizationUsed.selector);
        channels.deposit(config, amount, address(channels), data);
    }

    /// @notice An authorisation pays into the channel it names and no other, and no other amount.
    function testFuzz_authorisationBindsChannelAndAmount(uint256 seed, uint128 amount) public {
        ISessionChannels.ChannelConfig memory config = _config(MIN_DELAY);
        amount = uint128(bound(amount, 2, 1e18));
        bytes memory data = authorizationData(
            PAYER_KEY, config.token, address(channels), _id(config), amount, 0, type(uint256).max, seed
        );
        if (seed % 5 == 0) config.receiver = thief;
        if (seed % 5 == 1) config.payerAuthorizer = thief;
        if (seed % 5 == 2) config.salt = bytes32(seed | 1);
        if (seed % 5 == 3) config.withdrawDelay++;
        if (seed % 5 == 4) amount--;
        vm.prank(thief);
        vm.expectRevert(ScriptedToken.BadAuthorization.selector);
        channels.deposit(config, amount, address(channels), data);
    }

    // ------------------------------------------------------------------ claim

    function testFuzz_claim(uint128 balance, uint128 ceiling, uint128 first, uint128 second) public {
        ISessionChannels.ChannelConfig memory config = _config(MIN_DELAY);
        balance = uint128(bound(balance, 1, MAX));
        first = uint128(bound(first, 0, balance));
        ceiling = uint128(bound(ceiling, 0, MAX));
        _deposit(config, balance);
        if (first > 0) _claim(config, first);

        if (second > first) {
            if (second > ceiling) {
                vm.expectRevert(ISessionChannels.ClaimExceedsCeiling.selector);
            } else if (second > balance) {
                vm.expectRevert(ISessionChannels.ClaimExceedsBalance.selector);
            } else {
                _emits();
                emit Claimed(_id(config), receiver, second - first, second);
            }
        }
        bool moves = second > first && second <= ceiling && second <= balance;
        ISessionChannels.VoucherClaim[] memory rows = _claimRow(config, ceiling, second);
        vm.prank(receiver);
        channels.claim(rows);
        _expectState(config, balance, moves ? second : first);
        (uint128 claimed, uint128 settled) = channels.receivers(receiver, config.token);
        vm.assertEq(claimed, moves ? second : first, "receiver claimed");
        vm.assertEq(settled, 0, "receiver settled");
    }

    /// @notice Settle pays exactly what was claimed and not paid before, however often it is called.
    function testFuzz_settle(uint128 balance, uint128 first, uint128 second) public {
        ISessionChannels.ChannelConfig memory config = _config(MIN_DELAY);
        balance = uint128(bound(balance, 2, MAX));
        first = uint128(bound(first, 1, balance - 1));
        second = uint128(bound(second, uint256(first) + 1, balance));
        _deposit(config, balance);
        _claim(config, first);
        _emits();
        emit Settled(receiver, config.token, address(this), first);
        channels.settle(receiver, config.token);
        channels.settle(receiver, config.token);
        vm.assertEq(honest.balanceOf(receiver), first, "paid once");
        _claim(config, second);
        channels.settle(receiver, config.token);
        channels.settle(thief, config.token);
        vm.assertEq(honest.balanceOf(receiver), second, "paid the rest");
        (uint128 claimed, uint128 settled) = channels.receivers(receiver, config.token);
        vm.assertEq(settled, claimed, "all settled");
    }

    // ------------------------------------------------------------------ refund

    function testFuzz_refund(uint128 balance, uint128 claimed, uint128 amount, uint128 pending) public {
        ISessionChannels.ChannelConfig memory config = _config(MIN_DELAY);
        balance = uint128(bound(balance, 1, MAX));
        claimed = uint128(bound(claimed, 0, balance));
        amount = uint128(bound(amount, 1, MAX));
        _deposit(config, balance);
        if (claimed > 0) _claim(config, claimed);
        uint128 left = balance - claimed;
        pending = left == 0 ? 0 : uint128(bound(pending, 0, left));
        uint256 since = pending > 0 ? block.timestamp : 0;
        if (pending > 0) {
            vm.prank(payer);
            channels.initiateWithdraw(config, pending);
        }
        uint128 paid = amount < left ? amount : left;
        uint256 before = honest.balanceOf(payer);
        if (paid > 0) {
            _emits();
            emit Refunded(_id(config), receiver, paid);
        }
        vm.prank(receiver);
        channels.refund(config, amount);
        _expectState(config, balance - paid, claimed);
        _expectPending(config, pending > paid ? pending - paid : 0, pending > paid ? since : 0);
        vm.assertEq(honest.balanceOf(payer), before + paid, "paid");
        vm.assertEq(channels.refundNonce(_id(config)), 1, "nonce");
    }

    function testFuzz_refundNonce(uint256 nonce, uint128 amount) public {
        ISessionChannels.ChannelConfig memory config = _config(MIN_DELAY);
        amount = uint128(bound(amount, 1, MAX / 2));
        _deposit(config, MAX);
        vm.prank(receiver);
        channels.refund(config, 1);
        nonce = bound(nonce, 0, nonce % 2 == 0 ? 3 : type(uint256).max);
        bytes memory sig =
            signature(RECEIVER_KEY, Digests.refund(address(channels), _id(config), nonce, amount));
        if (nonce != 1) vm.expectRevert(ISessionChannels.InvalidRefundNonce.selector);
        channels.refundWithSignature(config, amount, nonce, sig);
        if (nonce != 1) return;
        _expectState(config, MAX - 1 - amount, 0);
        vm.expectRevert(ISessionChannels.InvalidRefundNonce.selector);
        channels.refundWithSignature(config, amount, nonce, sig);
        vm.expectRevert(ISessionChannels.InvalidSignature.selector);
        channels.refundWithSignature(config, amount, 2, sig);
    }

    // ------------------------------------------------------------------ withdraw

    /// @notice From any delay, at any time: finalized from its second on and never before, for at most what is left.
    function testFuzz_withdraw(uint40 delay, uint256 wait, uint128 amount, uint128 claimed) public {
        ISessionChannels.ChannelConfig memory config = _config(uint40(bound(delay, MIN_DELAY, MAX_DELAY)));
        amount = uint128(bound(amount, 1, 1e18));
        claimed = uint128(bound(claimed, 0, 1e18));
        _deposit(config, 1e18);
        uint256 start = block.timestamp;
        _emits();
        emit WithdrawInitiated(_id(config), amount, uint40(start + config.withdrawDelay));
        vm.prank(payer);
        channels.initiateWithdraw(config, amount);
        _expectPending(config, amount, start);
        if (claimed > 0) _claim(config, claimed);

        wait = bound(wait, wait % 2 == 0 ? config.withdrawDelay - 1 : 0, uint256(config.withdrawDelay) + 1);
        vm.warp(start + wait);
        bool early = wait < config.withdrawDelay;
        uint128 paid = amount < 1e18 - claimed ? amount : 1e18 - claimed;
        uint256 before = honest.balanceOf(payer);
        if (early) {
            vm.expectRevert(ISessionChannels.WithdrawDelayNotElapsed.selector);
        } else {
            _emits();
            emit WithdrawFinalized(_id(config), payer, paid);
        }
        vm.prank(payer);
        channels.finalizeWithdraw(config);
        if (early) return _expectPending(config, amount, start);
        _expectPending(config, 0, 0);
        _expectState(config, 1e18 - paid, claimed);
        vm.assertEq(honest.balanceOf(payer), before + paid, "paid");
    }

    function testFuzz_withdrawAmount(uint128 balance, uint128 claimed, uint128 amount) public {
        ISessionChannels.ChannelConfig memory config = _config(MIN_DELAY);
        balance = uint128(bound(balance, 1, MAX));
        claimed = uint128(bound(claimed, 0, balance));
        _deposit(config, balance);
        if (claimed > 0) _claim(config, claimed);
        if (amount == 0) vm.expectRevert(ISessionChannels.NothingToWithdraw.selector);
        else if (amount > balance - claimed) vm.expectRevert(ISessionChannels.WithdrawAmountExceedsAvailable.selector);
        vm.prank(payer);
        channels.initiateWithdraw(config, amount);
    }

    /// @notice A cancelled withdrawal is gone: it cannot be finalized, and a new one waits its full delay.
    function testFuzz_cancelledWithdrawalStartsOver(uint40 delay, uint256 cancelAt, uint128 amount) public {
        ISessionChannels.ChannelConfig memory config = _config(uint40(bound(delay, MIN_DELAY, MAX_DELAY)));
        amount = uint128(bound(amount, 1, 1e18));
        _deposit(config, 1e18);
        uint256 start = block.timestamp;
        vm.prank(payer);
        channels.initiateWithdraw(config, amount);
        cancelAt = bound(cancelAt, 0, 2 * uint256(config.withdrawDelay));
        vm.warp(start + cancelAt);
        _emits();
        emit WithdrawCancelled(_id(config), amount);
        vm.prank(payer);
        channels.cancelWithdraw(config);
        _expectPending(config, 0, 0);
        _expectState(config, 1e18, 0);

        vm.warp(start + 3 * uint256(config.withdrawDelay));
        vm.prank(payer);
        vm.expectRevert(ISessionChannels.WithdrawalNotPending.selector);
        channels.finalizeWithdraw(config);
        uint256 again = block.timestamp;
        vm.prank(payer);
        channels.initiateWithdraw(config, amount);
        vm.warp(again + config.withdrawDelay - 1);
        vm.prank(payer);
        vm.expectRevert(ISessionChannels.WithdrawDelayNotElapsed.selector);
        channels.finalizeWithdraw(config);
        vm.warp(again + config.withdrawDelay);
        vm.prank(payer);
        channels.finalizeWithdraw(config);
        _expectState(config, 1e18 - amount, 0);
    }

    /// @notice A channel closed and funded again is the same channel: its refund nonce goes on, old vouchers bind again
    /// (they name the same terms), and nothing else is left over.
    function testFuzz_reopenedChannel(uint128 first, uint128 second) public {
        ISessionChannels.ChannelConfig memory config = _config(MIN_DELAY);
        first = uint128(bound(first, 1, MAX));
        second = uint128(bound(second, 1, MAX));
        _deposit(config, first);
        vm.prank(receiver);
        channels.refund(config, first);
        _expectState(config, 0, 0);
        _emits();
        emit ChannelCreated(_id(config), config);
        _deposit(config, second);
        _expectState(config, second, 0);
        vm.assertEq(channels.refundNonce(_id(config)), 1, "nonce");
        _claim(config, second);
        _expectState(config, second, second);
    }
}
