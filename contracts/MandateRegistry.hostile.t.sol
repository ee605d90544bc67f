// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {Digests} from "./test-support/Digests.sol";
import {IMandateRegistry} from "./interfaces/IMandateRegistry.sol";
import {ISessionChannels} from "./interfaces/ISessionChannels.sol";
import {MandateWorld} from "./test-support/MandateWorld.sol";
import {ScriptedToken} from "./test-support/Tokens.sol";
import {Vm} from "./test-support/Vm.sol";
import {ScriptedWallet} from "./test-support/Wallets.sol";

/// @notice A token that refuses with two kilobytes of reasons.
contract LoudToken {
    function transferFrom(address, address, uint256) external pure {
        assembly {
            revert(0, 2000)
        }
    }
}

/// @notice Tokens, wallets, callers and relayers that misbehave: no budget is passed, no token stays in the registry, and no
/// outcome depends on the gas that a relayer chose.
contract MandateRegistryHostileTest is MandateWorld {
    uint256 private constant ROWS = 4;

    function setUp() public {
        buildMandates();
        vm.warp(START + 100);
        approveAll();
    }

    // ------------------------------------------------------------------ tokens

    function _authorized(uint128 amount, uint256 salt) private view returns (IMandateRegistry.Spend memory order) {
        order = orderOf(2, payees[0], amount);
        order.authorization = authorizationOf(PRINCIPAL_KEY, ids[0], amount, salt);
    }

    function test_singleUseAuthorization() public {
        IMandateRegistry.Spend memory order = _authorized(5, 1);
        spendAs(agent(2), order);
        vm.expectRevert(ScriptedToken.AuthorizationUsed.selector);
        spendAs(agent(2), order);
        // Signed for another tree, or for another amount.
        order.authorization = authorizationOf(PRINCIPAL_KEY, ids[4], 5, 2);
        vm.expectRevert(ScriptedToken.BadAuthorization.selector);
        spendAs(agent(2), order);
        order.authorization = authorizationOf(PRINCIPAL_KEY, ids[0], 6, 2);
        vm.expectRevert(ScriptedToken.BadAuthorization.selector);
        spendAs(agent(2), order);
        _expectPaid(5, 5);
    }

    /// @notice Nobody can send the authorisation to the token past the registry, where no budget would be charged.
    function test_authorizationIsOfNoUseElsewhere() public {
        bytes memory sig = _signatureIn(authorizationOf(PRINCIPAL_KEY, ids[0], 5, 1));
        vm.expectRevert(ScriptedToken.CallerMustBeReceiver.selector);
        token.receiveWithAuthorization(
            principal, address(registry), 5, 0, FOREVER, keccak256(abi.encode(ids[0], uint256(1))), sig
        );
    }

    function _signatureIn(bytes memory authorization) private pure returns (bytes memory sig) {
        (,,, sig) = abi.decode(authorization, (uint256, uint256, uint256, bytes));
    }

    function _expectPaid(uint256 amount, uint128 spent) private view {
        vm.assertEq(token.balanceOf(payees[0]), amount, "paid");
        vm.assertEq(token.balanceOf(principal), 1e15 - spent, "left the principal");
        vm.assertEq(spentOf(ids[0]), spent, "charged");
        vm.assertEq(token.balanceOf(address(registry)), 0, "stuck in the registry");
    }

    /// @notice Whatever the token does: either the payment fails and nothing is charged, or exactly what left the principal is.
    function test_tokensThatMisbehave() public {
        for (uint256 mode = 0; mode <= uint256(type(ScriptedToken.Mode).max); mode++) {
            if (ScriptedToken.Mode(mode) == ScriptedToken.Mode.Reenters) continue;
            for (uint256 source = 0; source < 2; source++) {
                uint256 start = vm.snapshotState();
                IMandateRegistry.Spend memory order = source == 0 ? orderOf(2, payees[0], 500) : _authorized(500, 1);
                token.setMode(ScriptedToken.Mode(mode));
                if (ScriptedToken.Mode(mode) == ScriptedToken.Mode.Blacklists) token.setBlacklisted(payees[0]);
                vm.prank(agent(2));
                (bool ok,) = address(registry).call{gas: 5_000_000}(abi.encodeCall(registry.spend, (order)));
                vm.assertEq(ok, _goesThrough(ScriptedToken.Mode(mode), source), vm.toString(mode * 10 + source));
                uint128 spent = ok ? 500 : 0;
                vm.assertEq(spentOf(ids[0]), spent, "charged");
                vm.assertEq(token.balanceOf(principal), 1e15 - spent, "left the principal");
                vm.assertEq(token.balanceOf(address(registry)), 0, "stuck in the registry");
                vm.revertToState(start);
            }
        }
    }

    /// @dev A fee on a plain transfer is the payee's loss, as in any payment; through the registry it would be the registry's,
    /// so that fails. Whether a token that answers false has moved anything nobody can say, so that fails too.
    function _goesThrough(ScriptedToken.Mode mode, uint256 source) private pure returns (bool) {
        if (
            mode == ScriptedToken.Mode.Honest || mode == ScriptedToken.Mode.NoReturnData
                || mode == ScriptedToken.Mode.Heavy
        ) return true;
        return source == 0 && (mode == ScriptedToken.Mode.FeeOnTransfer || mode == ScriptedToken.Mode.Overpays);
    }

    /// @notice A token whose transfer asks for the same payment again gets what the limits leave, never more.
    function testFuzz_reentrantTokenStaysWithinLimits(uint128 amount, bool byBatch) public {
        amount = uint128(bound(amount, 1, 500));
        IMandateRegistry.Spend memory order = orderOf(2, payees[0], amount);
        IMandateRegistry.SignedSpend[] memory rows = new IMandateRegistry.SignedSpend[](ROWS);
        for (uint256 i = 0; i < ROWS; i++) {
            rows[i] = signed(order, agentKey(2), 10 + i);
        }
        token.setHook(address(registry), abi.encodeCall(registry.spendBatch, (rows)));
        if (byBatch) registry.spendBatch(rows);
        else spendAs(agent(2), order);
        uint256 paid = token.balanceOf(payees[0]);
        vm.assertTrue(token.hookCalls() > 1, "never came back");
        vm.assertTrue(paid <= 1_200, "more than a period's limit");
        vm.assertEq(spentOf(ids[2]), paid, "leaf");
        vm.assertEq(spentOf(ids[0]), paid, "root");
        vm.assertEq(token.balanceOf(principal), 1e15 - paid, "left the principal");
    }

    /// @notice Tokens that lie in the registry by mistake are nobody's, and disturb nothing.
    function test_strayTokens() public {
        token.mint(address(registry), 77);
        spendAs(agent(2), _authorized(5, 1));
        spendAs(agent(2), orderOf(2, payees[0], 5));
        vm.assertEq(token.balanceOf(address(registry)), 77, "stray tokens");
    }

    function test_tokenWithoutCode() public {
        IMandateRegistry.Mandate memory m = base();
        m.token = address(0x1234);
        vm.prank(principal);
        registry.approve(one(m));
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, m.token));
        spendAs(agent(0), orderOf(m, payees[0], 1));
    }

    /// @notice The registry calls whatever contract a mandate names as its token; that must not be able to be itself.
    function test_registryAsToken() public {
        IMandateRegistry.Mandate memory m = base();
        m.token = address(registry);
        vm.prank(principal);
        registry.approve(one(m));
        vm.expectRevert();
        spendAs(agent(0), orderOf(m, payees[0], 1));
    }

    // ------------------------------------------------------------------ collect

    function _deposit(ISessionChannels.ChannelConfig memory config, uint128 amount, bytes memory data) private {
        vm.prank(thief);
        channels.deposit(config, amount, address(registry), data);
    }

    function test_depositUnderASubMandate() public {
        ISessionChannels.ChannelConfig memory config = channelOf(principal, payees[0]);
        bytes memory data = depositData(config, orderOf(2, payees[0], 700), agentKey(2), 0);
        _deposit(config, 700, data);
        (uint128 balance,) = channels.channels(Digests.channelId(address(channels), config));
        vm.assertEq(balance, 700, "deposited");
        for (uint256 i = 0; i < 3; i++) {
            vm.assertEq(spentOf(ids[i]), 700, "charged");
        }
        data = depositData(config, orderOf(2, payees[0], 500), agentKey(2), 0);
        vm.expectRevert(abi.encodeWithSelector(IMandateRegistry.NonceAlreadyUsed.selector, ids[2], 0));
        _deposit(config, 500, data);
        // What comes back is the principal's, and not the agent's to spend again.
        vm.prank(payees[0]);
        channels.refund(config, 700);
        vm.assertEq(token.balanceOf(principal), 1e15, "refunded");
        vm.assertEq(spentOf(ids[2]), 700, "budget after a refund");
        vm.assertEq(registry.remaining(lineageOf(2)), 500, "remaining after a refund");
    }

    function test_depositByAuthorization() public {
        ISessionChannels.ChannelConfig memory config = channelOf(principal, payees[0]);
        _deposit(config, 5, depositData(config, _authorized(5, 1), agentKey(2), 0));
        vm.assertEq(token.balanceOf(address(channels)), 5, "deposited");
        vm.assertEq(token.balanceOf(address(registry)), 0, "stuck in the registry");
    }

    function testFuzz_onlyChannelContractsCollect(address caller) public {
        vm.assume(caller != address(channels));
        ISessionChannels.ChannelConfig memory config = channelOf(principal, payees[0]);
        bytes memory data = depositData(config, orderOf(2, payees[0], 7), agentKey(2), 0);
        bytes32 id = Digests.channelId(address(channels), config);
        vm.expectRevert(abi.encodeWithSelector(IMandateRegistry.OnlyChannelContract.selector, caller));
        vm.prank(caller);
        registry.collect(principal, address(token), 7, id, data);
    }

    /// @notice One wrong thing at a time, in what the channel contract is told or in what the registry is told.
    function test_depositsThatAreNotWhatTheDelegateSigned() public {
        ISessionChannels.ChannelConfig memory config = channelOf(principal, payees[0]);
        bytes memory data = depositData(config, orderOf(2, payees[0], 7), agentKey(2), 0);
        for (uint256 i = 0; i < 7; i++) {
            ISessionChannels.ChannelConfig memory other = channelOf(principal, payees[0]);
            if (i == 0) other.payerAuthorizer = payees[3];
            if (i == 1) other.receiver = thief;
            if (i == 2) other.receiverAuthorizer = thief;
            if (i == 3) other.withdrawDelay++;
            if (i == 4) other.salt = "other";
            if (i == 5) other.payer = thief;
            if (i == 6) other.token = address(new ScriptedToken());
            bytes32 id = Digests.channelId(address(channels), other);
            vm.expectRevert(abi.encodeWithSelector(IMandateRegistry.WrongChannel.selector, id));
            _deposit(other, 7, data);
        }
        vm.expectRevert(
            abi.encodeWithSelector(
                IMandateRegistry.WrongChannel.selector, Digests.channelId(address(channels), config)
            )
        );
        _deposit(config, 8, data);
        // The relayer tells the registry the config it would like.
        ISessionChannels.ChannelConfig memory thiefs = channelOf(principal, thief);
        bytes memory forged = depositData(thiefs, orderOf(2, payees[0], 7), agentKey(2), 0);
        vm.expectRevert(
            abi.encodeWithSelector(IMandateRegistry.WrongChannel.selector, Digests.channelId(address(channels), thiefs))
        );
        _deposit(thiefs, 7, forged);
        vm.expectRevert(abi.encodeWithSelector(IMandateRegistry.InvalidSignature.selector, agent(2)));
        _deposit(config, 7, depositData(config, orderOf(2, payees[0], 7), THIEF_KEY, 0));
        // The lineage is walked from the root: the middle one refuses first.
        vm.expectRevert(abi.encodeWithSelector(IMandateRegistry.PayeeNotAllowed.selector, ids[1], thief));
        _deposit(thiefs, 7, depositData(thiefs, orderOf(2, thief, 7), agentKey(2), 0));
        vm.assertEq(spentOf(ids[0]), 0, "charged");
    }

    /// @notice A spend's signature is no deposit's, and the other way round.
    function test_consentsAreNotExchangeable() public {
        ISessionChannels.ChannelConfig memory config = channelOf(principal, payees[0]);
        IMandateRegistry.SignedSpend memory row = signed(orderOf(2, payees[0], 7), agentKey(2), 0);
        vm.expectRevert(abi.encodeWithSelector(IMandateRegistry.InvalidSignature.selector, agent(2)));
        _deposit(config, 7, abi.encode(IMandateRegistry.Deposit(config, row)));
        bytes memory data = depositData(config, orderOf(2, payees[0], 7), agentKey(2), 0);
        (IMandateRegistry.Deposit memory decoded) = abi.decode(data, (IMandateRegistry.Deposit));
        vm.expectRevert(abi.encodeWithSelector(IMandateRegistry.InvalidSignature.selector, agent(2)));
        registry.spendWithSignature(decoded.row);
        decoded.row.signature = "";
        vm.expectRevert(abi.encodeWithSelector(IMandateRegistry.InvalidSignature.selector, agent(2)));
        vm.prank(agent(2));
        channels.deposit(config, 7, address(registry), abi.encode(decoded));
    }

    function testFuzz_garbageInsteadOfADeposit(bytes calldata data) public {
        ISessionChannels.ChannelConfig memory config = channelOf(principal, payees[0]);
        vm.expectRevert();
        channels.deposit(config, 7, address(registry), data);
    }

    function test_badChannelContractsAreRefusedAtConstruction() public {
        bytes memory code = vm.getCode("MandateRegistry.sol:MandateRegistry");
        for (uint256 i = 0; i < 2; i++) {
            bytes memory made = bytes.concat(
                code, abi.encode(i == 0 ? address(0) : address(channels), i == 1 ? address(0) : address(channels))
            );
            address at_;
            assembly {
                at_ := create(0, add(made, 32), mload(made))
            }
            vm.assertEq(at_, address(0), "constructed");
        }
    }

    // ------------------------------------------------------------------ withdrawals

    function _consent(ISessionChannels.ChannelConfig memory config, uint256 key, uint128 amount)
        private
        view
        returns (IMandateRegistry.Withdrawal memory)
    {
        bytes32 id = Digests.channelId(address(channels), config);
        bytes memory sig = signature(key, Digests.withdrawRequest(address(channels), id, amount, FOREVER));
        return IMandateRegistry.Withdrawal(address(channels), config, amount, FOREVER, sig);
    }

    function test_revokeStartsWithdrawals() public {
        ISessionChannels.ChannelConfig memory config = channelOf(principal, payees[0]);
        ISessionChannels.ChannelConfig memory unfunded = channelOf(principal, payees[1]);
        _deposit(config, 700, depositData(config, orderOf(2, payees[0], 700), agentKey(2), 0));
        IMandateRegistry.Withdrawal[] memory withdrawals = new IMandateRegistry.Withdrawal[](3);
        withdrawals[0] = _consent(unfunded, PRINCIPAL_KEY, type(uint128).max);
        withdrawals[1] = _consent(config, THIEF_KEY, 700);
        withdrawals[2] = _consent(config, PRINCIPAL_KEY, type(uint128).max);

        vm.recordLogs();
        vm.prank(principal);
        registry.revokeAndWithdraw(lineageOf(0), withdrawals);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        (uint128 pending, uint40 since) = channels.pendingWithdrawals(Digests.channelId(address(channels), config));
        vm.assertEq(pending, 700, "all that is there");
        vm.assertEq(since, block.timestamp, "since now");
        vm.assertEq(logs.length, 4, "revoked, two skipped, one started");
        vm.assertEq(
            logs[1].data, abi.encode(abi.encodeWithSelector(ISessionChannels.NothingToWithdraw.selector)), "nothing there"
        );
        vm.assertEq(
            logs[2].data, abi.encode(abi.encodeWithSelector(ISessionChannels.InvalidSignature.selector)), "forged"
        );

        withdrawals = new IMandateRegistry.Withdrawal[](1);
        withdrawals[0] = _consent(config, PRINCIPAL_KEY, 1);
        withdrawals[0].channels = address(token);
        vm.expectRevert(abi.encodeWithSelector(IMandateRegistry.InvalidChannelContract.selector, address(token)));
        vm.prank(principal);
        registry.revokeAndWithdraw(lineageOf(0), withdrawals);
    }

    // ------------------------------------------------------------------ gas

    function _rows() private view returns (IMandateRegistry.SignedSpend[] memory rows) {
        rows = new IMandateRegistry.SignedSpend[](ROWS);
        rows[0] = signed(orderOf(2, payees[0], 5), agentKey(2), 0);
        rows[1] = signed(orderOf(2, payees[1], 5), agentKey(2), 1);
        rows[2] = signed(orderOf(4, payees[0], 5), AGENT_WALLET_KEY, 0);
        rows[3] = signed(orderOf(0, payees[2], 6), agentKey(0), 0);
    }

    /// @notice A batch with a wallet that answers by the gas it has: whatever the gas, it reverts as a whole or does what it
    /// does with plenty.
    function test_batchAtAnyGas() public {
        agentWallet.setMode(ScriptedWallet.Mode.NeedsGas, 60_000);
        bytes memory data = abi.encodeCall(registry.spendBatch, (_rows()));
        uint256 start = vm.snapshotState();
        (bool ok, bytes32 expected) = this.tryAt(data, 30_000_000);
        vm.assertTrue(ok, "fails with plenty of gas");
        vm.assertEq(token.balanceOf(payees[0]), 10, "pays two rows");
        vm.revertToState(start);
        uint256 refused;
        for (uint256 gasLimit = 25_000; gasLimit < 5_000_000; gasLimit += 37_003) {
            (bool done, bytes32 state) = this.tryAt(data, gasLimit);
            vm.revertToState(start);
            if (done) vm.assertEq(state, expected, "depends on gas");
            else refused++;
        }
        vm.assertTrue(refused > 0, "never starved");
    }

    function testFuzz_batchAtAnyGas(uint256 gasLimit) public {
        agentWallet.setMode(ScriptedWallet.Mode.NeedsGas, 60_000);
        bytes memory data = abi.encodeCall(registry.spendBatch, (_rows()));
        uint256 start = vm.snapshotState();
        (, bytes32 expected) = this.tryAt(data, 30_000_000);
        vm.revertToState(start);
        (bool done, bytes32 state) = this.tryAt(data, bound(gasLimit, 3_900_000, 4_700_000));
        if (done) vm.assertEq(state, expected, "depends on gas");
    }

    function tryAt(bytes memory data, uint256 gasLimit) external returns (bool ok, bytes32 state) {
        vm.recordLogs();
        (ok,) = address(registry).call{gas: gasLimit}(data);
        state = keccak256(
            abi.encode(
                vm.getRecordedLogs(), token.balanceOf(payees[0]), token.balanceOf(payees[2]), spentOf(ids[0]), spentOf(ids[4])
            )
        );
    }

    /// @notice Rows that burn all they are given, or answer with a megabyte, cost the others nothing.
    function test_poisonedRowsAreAlone() public {
        ScriptedToken[2] memory bad = [new ScriptedToken(), new ScriptedToken()];
        bad[0].setMode(ScriptedToken.Mode.BurnsGas);
        bad[1].setMode(ScriptedToken.Mode.ReturnBomb);
        IMandateRegistry.SignedSpend[] memory rows = new IMandateRegistry.SignedSpend[](5);
        for (uint256 i = 0; i < 2; i++) {
            IMandateRegistry.Mandate memory m = base();
            m.token = address(bad[i]);
            vm.prank(principal);
            registry.approve(one(m));
            vm.prank(principal);
            bad[i].approve(address(registry), FOREVER);
            rows[i] = signed(orderOf(m, payees[0], 1), agentKey(0), 0);
        }
        rows[2].nonce = 1; // an empty lineage
        rows[4] = signed(orderOf(2, payees[0], 5), agentKey(2), 0);
        IMandateRegistry.Mandate memory loud = base();
        loud.token = address(new LoudToken());
        vm.prank(principal);
        registry.approve(one(loud));
        rows[3] = signed(orderOf(loud, payees[0], 1), agentKey(0), 0);
        vm.recordLogs();
        registry.spendBatch{gas: 20_000_000}(rows);
        Vm.Log[] memory logs = _skipped(vm.getRecordedLogs());
        vm.assertEq(token.balanceOf(payees[0]), 5, "the good row");
        vm.assertEq(logs[0].data, abi.encode(bytes("")), "out of its gas");
        vm.assertEq(logs[1].data, abi.encode(bytes("")), "out of its gas");
        vm.assertEq(logs[3].data.length, 0x40 + 256, "a bounded reason");
        vm.assertEq(logs[2].topics[2], bytes32(0), "id of an empty lineage");
    }

    /// @dev The recorder also hears what a reverted row said.
    function _skipped(Vm.Log[] memory all) private pure returns (Vm.Log[] memory logs) {
        uint256 count;
        for (uint256 i = 0; i < all.length; i++) {
            if (all[i].topics[0] == IMandateRegistry.SpendSkipped.selector) all[count++] = all[i];
        }
        logs = new Vm.Log[](count);
        for (uint256 i = 0; i < count; i++) {
            logs[i] = all[i];
        }
    }
}
