# Does the checker bite? Each mutant is the simulation with one safeguard taken out, and a test that
# passes only if that is caught.

# redlock_mutant(NAME FILE TESTS FROM TO): in FILE, FROM (which must be there) becomes TO; some of
# TESTS (a filter of GoogleTest) must fail then. The changed file takes the place of the library's.
function(redlock_mutant name file tests from to)
  set(original ${PROJECT_SOURCE_DIR}/${file})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${original})
  file(READ ${original} text)
  string(FIND "${text}" "${from}" position)
  if(position EQUAL -1)
    message(FATAL_ERROR "tests/sim/mutants.cmake: ${name}: ${file} does not have: ${from}")
  endif()
  string(REPLACE "${from}" "${to}" text "${text}")
  set(mutated ${CMAKE_CURRENT_BINARY_DIR}/mutants/${name}.cc)
  file(GENERATE OUTPUT ${mutated} CONTENT "${text}")
  add_executable(mutant_${name} ${mutated} $<TARGET_OBJECTS:sim_test_objects>)
  target_link_libraries(mutant_${name} PRIVATE
    redlock_sim redlock_core GTest::gtest GTest::gtest_main Threads::Threads)
  add_test(NAME mutant_${name} COMMAND mutant_${name} --gtest_filter=${tests})
  set_tests_properties(mutant_${name} PROPERTIES
    PASS_REGULAR_EXPRESSION "[0-9]+ FAILED TEST" TIMEOUT 600
    ENVIRONMENT "REDLOCK_SIM_SCHEDULES=20000;REDLOCK_SIM_FIRST=1")
endfunction()

# Found by random schedules alone.
set(schedules Simulation.SchedulesKeepTheInvariants)
redlock_mutant(drops_the_drift server/core/attempt.cc ${schedules}
  "env_.options.drift" "DriftBudget{.factor = 0, .buffer = {}}")
redlock_mutant(wins_too_late server/core/attempt.cc ${schedules}
  "if (validity <= Duration::zero())" "if (false)")
redlock_mutant(counts_a_healed_vote server/core/extension.cc ${schedules}
  "      return Round::Counts::kAsGrant;
    case Outcome::kHeld:
    case Outcome::kNotHeld:"
  "    case Outcome::kNotHeld:
      return Round::Counts::kAsGrant;
    case Outcome::kHeld:")
redlock_mutant(leaves_fences_apart server/core/extension.cc ${schedules}
  "if (!fences.agree || fences.highest.value == 0)" "if (fences.highest.value == 0)")
redlock_mutant(raises_to_a_strangers_fence server/core/extension.cc "FencingAfterALoss.*"
  "command_.raise_to = env_.fences.Next(env_.scheduler.WallNow());"
  "command_.raise_to = fences.highest;")
redlock_mutant(adopts_without_one_fence server/core/attempt.cc ${schedules}
  "if (adopted && (!agree || highest.value == 0))" "if (false)")
redlock_mutant(grants_an_old_fence tests/sim/server.cc ${schedules}
  "    if (meta.fence >= fence) return {.outcome = Outcome::kStaleFence, .fence = meta.fence};
    Put(" "    Put(")
redlock_mutant(hands_over_an_old_fence tests/sim/server.cc ${schedules}
  "  if (meta.fence >= fence) return {.outcome = Outcome::kStaleFence, .fence = meta.fence};
  Put(" "  Put(")

redlock_mutant(releases_what_was_adopted server/core/watchdog.cc "Holding.*"
  "releaser_.ReleaseUnlessAdopted(key_, token_, *released_for_);"
  "releaser_.Release(key_, token_, [](const ReleaseResult&) {});")
redlock_mutant(watches_without_adopting server/core/watchdog.cc "Watching.*"
  ".adopt_by = adopted_ ? std::nullopt : released_for_" ".adopt_by = std::nullopt")

redlock_mutant(ignores_the_quarantine server/core/node_guard.cc ${schedules}
  "seat.until = scheduler_.Now() + std::max(time, Duration{});"
  "seat.until = scheduler_.Now() + std::max(time, Duration{}) / 1000;")
redlock_mutant(grants_without_the_mark server/core/guarded_node.cc ${schedules}
  "  marked.mark = guard_.mark(index_);
" "")
redlock_mutant(trusts_a_restarted_node server/core/node_guard.cc ${schedules}
  "return mark == seat.run || mark == seat.run + kDurable;" "return !IsProvisional(mark);")
redlock_mutant(counts_a_grant_by_a_wrong_clock server/core/node_guard.cc ${schedules}
  "  if (reply.clock) ReadClock(node, asked, *reply.clock);
  if (reply.outcome" "  if (reply.outcome")
redlock_mutant(misses_a_second_loss server/core/node_guard.cc "Guard.*"
  "
                     Hexadecimal(random_.Bits());" "
                     Hexadecimal(0);")
redlock_mutant(extends_on_old_data server/core/guarded_node.cc "Guard.*"
  "if (guard_.HasOldData(index_)) {" "if (false) {")

# What a TTL mends in the end no schedule shows: found by the tests that say so.
redlock_mutant(skips_the_roll_back server/core/attempt.cc "Acquisition.*"
  "  CleanUp::Start(env_, registry_, {command_->key, command_->token, id_, {}, announce},
                 std::move(may_hold));" "")
redlock_mutant(keeps_a_grant_behind_its_roll_back server/core/attempt.cc "Acquisition.*"
  "  CleanUp::Start(env_, registry_, {command_->key, command_->token, round.attempt(), {}, false},
                 {node});" "")
redlock_mutant(heals_after_the_release server/core/extension.cc "Releasing.*"
  "if (registry_.IsReleasing(lease_->key)) return;" "")
redlock_mutant(forgets_to_tell_a_loss server/core/watchdog.cc "Watching.*"
  "lost_ ? extend_at_ : std::min(extend_at_, valid_until_);" "extend_at_;")
redlock_mutant(hands_over_and_forgets_the_rest server/core/hand_over.cc "Waiting.*"
  "if (!let_go) owed.push_back(node);" "")
